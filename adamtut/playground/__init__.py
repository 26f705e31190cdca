"""The playground: optimisers that race on a surface, in a browser, without a kernel.

    bundle      the whole of it as one script, for a page or for a widget
    translate   the lines of a rule or a surface in JavaScript
    book        the Sphinx extension that puts it into the pages
    *.js        simulate: a walk. setting: what the reader chose, and the link that
                carries it. draw: the pictures. element: <adam-playground>. widget:
                the same in a notebook (`adamtut.widget`).

Importing this imports nothing else.
"""
