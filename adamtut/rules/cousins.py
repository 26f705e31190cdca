"""Rules that change a line of Adam: the chapter first_cousins."""

from adamtut.ops import maximum, mean, minimum, norm, sign, sqrt, where
from adamtut.rules.form import rule


@rule
def adamax(p, g, m, u, t, *, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """AdaMax: Kingma and Ba 2015, algorithm 2 (which has no eps).

    State: 2 floats. As torch.optim.Adamax and optax.adamax, eps is added to |g| inside
    the maximum. Keras divides by u + eps and defaults to lr 0.001.
    """
    m = beta1 * m + (1 - beta1) * g
    u = maximum(beta2 * u, abs(g) + eps)
    m_hat = m / (1 - beta1**t)
    p = p - lr * m_hat / u
    return p, m, u


@rule(c="number")
def nadam(
    p,
    g,
    m,
    v,
    c,
    t,
    *,
    lr=2e-3,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    momentum_decay=4e-3,
):
    """NAdam: Dozat 2016, algorithm 2, as torch.optim.NAdam changes it.

    State: 2 floats and 1 number: c, one minus the product of all mu so far. Dozat
    averages m with mu, which makes c the total weight in m; torch averages it with a
    constant beta1, so that m_hat is no mean of gradients until mu has grown to beta1.
    optax.nadam has mu = beta1 from the start (momentum_decay = inf here). Dozat also
    multiplies v_hat by beta2; nobody else does.
    """
    mu = beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))
    mu_next = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * momentum_decay))
    c = 1 - mu * (1 - c)
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = mu_next * m / (1 - mu_next * (1 - c)) + (1 - mu) * g / c
    v_hat = v / (1 - beta2**t)
    p = p - lr * m_hat / (sqrt(v_hat) + eps)
    return p, m, v, c


@rule
def radam(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, threshold=5.0):
    """RAdam: Liu et al. 2020, algorithm 2 (which has no eps, and threshold 4).

    State: 2 floats. As optax.radam; the author's code and torch.optim.RAdam leave v
    uncorrected beside eps, so that eps acts as eps / sqrt(1 - beta2**t) does here. All
    three take threshold 5, where the author's code by default does not move p before
    rho has reached it. Until then a step is as long as the gradient.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    rho_max = 2 / (1 - beta2) - 1
    rho = rho_max - 2 * t * beta2**t / (1 - beta2**t)
    now = where(rho > threshold, (rho - 4) * (rho - 2) / rho, 0)
    end = where(rho > threshold, (rho_max - 4) * (rho_max - 2) / rho_max, 1)
    scaled = sqrt(now / end) * m_hat / (sqrt(v_hat) + eps)
    p = p - lr * where(rho > threshold, scaled, m_hat)
    return p, m, v


@rule
def yogi(p, g, m, v, t, *, lr=1e-2, beta1=0.9, beta2=0.999, eps=1e-3):
    """Yogi: Zaheer et al. 2018, algorithm 2, with Adam's corrections.

    State: 2 floats. optax and pytorch_optimizer correct, too, and start both m and v at
    1e-6; the paper corrects nothing and starts v at a first squared gradient.
    """
    m = beta1 * m + (1 - beta1) * g
    v = v - (1 - beta2) * sign(v - g**2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    p = p - lr * m_hat / (sqrt(v_hat) + eps)
    return p, m, v


@rule
def adabelief(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-16):
    """AdaBelief: Zhuang et al. 2020, algorithm 2.

    State: 2 floats. eps stands twice, and the one in v adds up to eps / (1 - beta2). As
    optax.adabelief and pytorch_optimizer; the author's package, too, has eps 1e-16.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * (g - m) ** 2 + eps
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    p = p - lr * m_hat / (sqrt(v_hat) + eps)
    return p, m, v


@rule
def adabound(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, final_lr=0.1):
    """AdaBound: Luo et al. 2019, algorithm 2, as the author's code changes it.

    State: 2 floats. The code has Adam's corrections and lr constant, the paper no
    corrections and lr / sqrt(t); the bounds are the paper's (the code calls their
    1 - beta2 gamma). A schedule that shall end the run must scale final_lr, too.
    pytorch_optimizer adds 1e-15 to v under the root.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    low = final_lr * (1 - 1 / ((1 - beta2) * t + 1))
    high = final_lr * (1 + 1 / ((1 - beta2) * t))
    correction = sqrt(1 - beta2**t) / (1 - beta1**t)
    rate = lr / (sqrt(v) + eps) * correction
    p = p - minimum(maximum(rate, low), high) * m
    return p, m, v


@rule
def adan(
    p,
    g,
    m,
    d,
    v,
    g_old,
    t,
    *,
    lr=1e-3,
    beta1=0.98,
    beta2=0.92,
    beta3=0.99,
    eps=1e-8,
    weight_decay=0.0,
):
    """Adan: Xie et al. 2024, algorithm 1, with the corrections of the author's code.

    State: 4 floats. The paper writes v and n for d and v, and 1 - beta for each beta.
    As the author's code and pytorch_optimizer; optax.adan has 1 - beta2 in place of
    the beta2 that multiplies a difference, adds 1e-8 to v_hat and decays p as AdamW.
    """
    change = where(t > 1, g - g_old, 0)
    m = beta1 * m + (1 - beta1) * g
    d = beta2 * d + (1 - beta2) * change
    v = beta3 * v + (1 - beta3) * (g + beta2 * change) ** 2
    m_hat = m / (1 - beta1**t) + beta2 * d / (1 - beta2**t)
    v_hat = v / (1 - beta3**t)
    p = (p - lr * m_hat / (sqrt(v_hat) + eps)) / (1 + lr * weight_decay)
    g_old = g
    return p, m, d, v, g_old


@rule
def adopt(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.9999, eps=1e-6):
    """ADOPT: Taniguchi et al. 2024, algorithm 2, which clips.

    State: 2 floats. The first gradient only starts v, since its clip is 0; the paper
    counts the steps from the second. As optax.contrib.adopt; pytorch_optimizer clips at
    t**0.25, one step ahead.
    """
    clip = (t - 1) ** 0.25
    u = minimum(maximum(g / maximum(sqrt(v), eps), -clip), clip)
    m = beta1 * m + (1 - beta1) * u
    v = where(t > 1, beta2 * v + (1 - beta2) * g**2, g**2)
    p = p - lr * m
    return p, m, v


@rule
def ademamix(
    p,
    g,
    m,
    m_slow,
    v,
    t,
    *,
    lr=1e-3,
    beta1=0.9,
    beta2=0.999,
    beta3=0.9999,
    alpha=5.0,
    eps=1e-8,
    weight_decay=0.0,
):
    """AdEMAMix: Pagliardini, Ablin and Grangier 2025, algorithm 1, without warm-ups.

    State: 3 floats. The paper warms alpha and beta3 up over the whole run; these are
    schedules, of a group's `alpha` and `beta3` or of those of a walk. As
    optax.contrib.ademamix and pytorch_optimizer; the author's code has alpha 2.
    """
    m = beta1 * m + (1 - beta1) * g
    m_slow = beta3 * m_slow + (1 - beta3) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t) + alpha * m_slow
    v_hat = v / (1 - beta2**t)
    p = p - lr * (m_hat / (sqrt(v_hat) + eps) + weight_decay * p)
    return p, m, m_slow, v


@rule(unit="tensor")
def cautious(
    p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0
):
    """Cautious AdamW: Liang et al. 2024, algorithm 1, with the mean of timm.

    State: 2 floats. The mean is over one tensor. As timm and the author's loop, which
    leaves v uncorrected beside eps; the paper divides by the mean of n numbers plus
    1 / n, without a floor of 0.001. The author's foreach masks nothing.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    mask = maximum(sign(m) * sign(g), 0)
    u = mask / maximum(mean(mask), 1e-3) * m_hat / (sqrt(v_hat) + eps)
    p = p - lr * (u + weight_decay * p)
    return p, m, v


@rule
def grams(
    p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=0.0
):
    """Grams: Cao, Li and Song 2024, algorithm 1.

    State: 2 floats. As pytorch_optimizer; the authors' package, whose eps this is,
    leaves v uncorrected beside it.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    u = sign(g) * abs(m_hat) / (sqrt(v_hat) + eps)
    p = p - lr * (u + weight_decay * p)
    return p, m, v


@rule(unit="tensor")
def mars(
    p,
    g,
    m,
    v,
    g_old,
    t,
    *,
    lr=3e-3,
    beta1=0.95,
    beta2=0.99,
    eps=1e-8,
    gamma=0.025,
    weight_decay=0.0,
):
    """MARS-AdamW: Yuan et al. 2025, algorithm 2, with the gradient of the step before.

    State: 3 floats. As the author's code with optimize_1d: a first difference is g
    itself, and a tensor's norm is clipped to 1. The paper's exact form takes the old
    gradient on today's batch, a second evaluation. timm has no first difference;
    pytorch_optimizer leaves v uncorrected beside eps and adds 1e-15 to it.
    """
    guess = g + gamma * beta1 / (1 - beta1) * (g - g_old)
    c = guess / maximum(norm(guess), 1)
    m = beta1 * m + (1 - beta1) * c
    v = beta2 * v + (1 - beta2) * c**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    p = p - lr * (m_hat / (sqrt(v_hat) + eps) + weight_decay * p)
    g_old = g
    return p, m, v, g_old
