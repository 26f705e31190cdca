"""Rules of signs and rules of matrices: the chapter sign_and_matrix."""
