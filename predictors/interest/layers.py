"""The layers that `passes` are made of, compiled to run inside of them.

Arrays are float32 and hold candidates, or events, along the last axis, so that a loop over it takes many at once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from predictors.compiled import compiled

Matrix = npt.NDArray[np.float32]


@compiled("f4(f4)")
def exp(x: np.float32) -> np.float32:
    """e^x for x up to 88, within 1e-7 of it (Cephes' expf): a call of the library's would stop the loops' vectors."""
    x = max(x, np.float32(-87))
    power = np.floor(x * np.float32(1.442695041) + np.float32(0.5))
    rest = x - power * np.float32(0.693359375) + power * np.float32(2.12194440e-4)
    y = np.float32(1.9875691500e-4)
    y = y * rest + np.float32(1.3981999507e-3)
    y = y * rest + np.float32(8.3334519073e-3)
    y = y * rest + np.float32(4.1665795894e-2)
    y = y * rest + np.float32(1.6666665459e-1)
    y = y * rest + np.float32(5.0000001201e-1)
    scale: np.float32 = np.int32((np.int32(power) + np.int32(127)) << np.int32(23)).view(np.float32)
    said: np.float32 = (y * rest * rest + rest + np.float32(1)) * scale
    return said


@compiled("f4(f4)")
def gelu(x: np.float32) -> np.float32:
    """GELU, by an error function within 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    z = abs(x) * np.float32(0.7071067812)
    t = np.float32(1) / (np.float32(1) + np.float32(0.3275911) * z)
    tail = np.float32(1.061405429) * t - np.float32(1.453152027)
    tail = tail * t + np.float32(1.421413741)
    tail = tail * t - np.float32(0.284496736)
    tail = (tail * t + np.float32(0.254829592)) * t * exp(-z * z)
    return np.float32(0.5) * (x + abs(x) * (np.float32(1) - tail))


@compiled("f4[:,::1](i8, i8)")
def room(rows: int, n: int) -> Matrix:
    """(rows, n) to be filled, which begins with a line of the cache: a vector across two takes twice as long."""
    some = np.empty(rows * n + 16, np.float32)
    begin = -some.ctypes.data % 64 // 4
    return some[begin : begin + rows * n].reshape((rows, n))


@compiled("void(f4[:,:], f4[:,::1], f4[:,::1])")
def _add_rest(weight: Matrix, x: Matrix, to: Matrix) -> None:
    """`add` of few rows."""
    for out in range(len(to)):
        for k in range(len(x)):
            for j in range(to.shape[1]):
                to[out, j] += weight[out, k] * x[k, j]


@compiled("void(f4[:,:], f4[:,::1], f4[:,::1])")
def add(weight: Matrix, x: Matrix, to: Matrix) -> None:
    """Add `weight` (out, in) times x (in, n) to `to` (out, n), four rows by four: as many as stay in registers."""
    outs, ins = len(to) - len(to) % 4, len(x) - len(x) % 4
    for out in range(0, outs, 4):
        e, f, g, h = to[out], to[out + 1], to[out + 2], to[out + 3]
        for k in range(0, ins, 4):
            a, b, c, d = x[k], x[k + 1], x[k + 2], x[k + 3]
            ea, eb, ec, ed = weight[out, k], weight[out, k + 1], weight[out, k + 2], weight[out, k + 3]
            fa, fb, fc, fd = weight[out + 1, k], weight[out + 1, k + 1], weight[out + 1, k + 2], weight[out + 1, k + 3]
            ga, gb, gc, gd = weight[out + 2, k], weight[out + 2, k + 1], weight[out + 2, k + 2], weight[out + 2, k + 3]
            ha, hb, hc, hd = weight[out + 3, k], weight[out + 3, k + 1], weight[out + 3, k + 2], weight[out + 3, k + 3]
            for j in range(to.shape[1]):
                e[j] += ea * a[j] + eb * b[j] + ec * c[j] + ed * d[j]
                f[j] += fa * a[j] + fb * b[j] + fc * c[j] + fd * d[j]
                g[j] += ga * a[j] + gb * b[j] + gc * c[j] + gd * d[j]
                h[j] += ha * a[j] + hb * b[j] + hc * c[j] + hd * d[j]
    _add_rest(weight[:outs, ins:], x[ins:], to[:outs])
    _add_rest(weight[outs:], x, to[outs:])


@compiled("void(f4[:,::1], f4[:,::1], f4[:,::1])")
def layer(weight: Matrix, x: Matrix, to: Matrix) -> None:
    """`weight` (out, 1 + in), the bias first, times x (in, n)."""
    for out in range(len(to)):
        to[out] = weight[out, 0]
    add(weight[:, 1:], x, to)


@compiled("void(f4[:,::1], f4[:,::1], f4, f4[:,::1])")
def norm(x: Matrix, by: Matrix, least: float, to: Matrix) -> None:
    """The norm of each column of x (width, n), times `by[0]` and plus `by[1]`."""
    width, n = x.shape
    mean, scale = np.zeros(n, np.float32), np.zeros(n, np.float32)
    for k in range(width):
        row = x[k]
        for j in range(n):
            mean[j] += row[j] / np.float32(width)
    for k in range(width):
        row = x[k]
        for j in range(n):
            scale[j] += (row[j] - mean[j]) * (row[j] - mean[j])
    for j in range(n):
        scale[j] = np.float32(1) / np.sqrt(scale[j] / np.float32(width) + least)
    for k in range(width):
        row, said, factor, more = x[k], to[k], by[0, k], by[1, k]
        for j in range(n):
            said[j] = (row[j] - mean[j]) * scale[j] * factor + more


@compiled("void(f4[:,::1])")
def softmax(x: Matrix) -> None:
    """Of each column of x (m, n), in place."""
    top, total = x[0].copy(), np.zeros(x.shape[1], np.float32)
    for k in range(1, len(x)):
        row = x[k]
        for j in range(len(top)):
            top[j] = max(top[j], row[j])
    for k in range(len(x)):
        row = x[k]
        for j in range(len(top)):
            row[j] = exp(row[j] - top[j])
            total[j] += row[j]
    for k in range(len(x)):
        row = x[k]
        for j in range(len(top)):
            row[j] /= total[j]
