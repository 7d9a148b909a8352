"""What `Folded` does beside its large products, in compiled passes: started one by one, its many small operations cost
more than what they do.

Arrays are float32 and hold candidates, or events, along the last axis, so that a loop over it takes many at once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from predictors.compiled import compiled

Matrix = npt.NDArray[np.float32]


@compiled("void(f8[:,::1], f4[::1], f4[::1], f8, f4[:,::1])")
def standardise(raw: npt.NDArray[np.float64], mean: Matrix, scale: Matrix, most: float, to: Matrix) -> None:
    """Each row of `raw` (k, n) less its mean and times its scale, cut at `most` either way; 0 where it is NaN."""
    for k in range(len(raw)):
        row, said, middle, by = raw[k], to[k], mean[k], scale[k]
        for j in range(len(row)):
            value = (row[j] - middle) * by
            value = most if value > most else (-most if value < -most else value)
            said[j] = value if value == value else 0


@compiled("void(f4[:,:,::1], f4[:,::1])")
def peak(near: Matrix, likeness: Matrix) -> None:
    """Take from `near` (heads, n, r) the greatest of each head, which goes to the first rows of `likeness`. Its last
    ones get the mean over the heads of the last events; an event that there is not is as near as nothing.
    """
    heads, n, candidates = near.shape
    last = len(likeness) - 2 * heads
    likeness[2 * heads :] = 0
    for head in range(heads):
        top = likeness[head]
        top[:] = near[head, 0]
        for event in range(n):
            row = near[head, event]
            for j in range(candidates):
                top[j] = row[j] if row[j] > top[j] else top[j]
        for event in range(max(n - last, 0), n):
            row, mean = near[head, event], likeness[len(likeness) - n + event]
            for j in range(candidates):
                mean[j] += row[j] / heads
        for event in range(n):
            row = near[head, event]
            for j in range(candidates):
                row[j] -= top[j]


@compiled("void(f4[:,:,::1], f4[:,::1], f4[:,::1])")
def share(found: Matrix, attended: Matrix, likeness: Matrix) -> None:
    """Divide what each head `found`, (heads, width / heads + 2, r), by its last row, the sum of the weights: all of it
    but the last two rows goes to `attended` (width, r), the last but one to the second rows of `likeness`.
    """
    heads, each, candidates = found.shape[0], found.shape[1] - 2, found.shape[2]
    for head in range(heads):
        total = found[head, each + 1]
        for j in range(candidates):
            total[j] = 1 / total[j]
        for k in range(each + 1):
            row = found[head, k]
            to = attended[head * each + k] if k < each else likeness[heads + head]
            for j in range(candidates):
                to[j] = row[j] * total[j]


@compiled("void(f4[:,::1], f4[::1], f4[::1], f4[::1], f4)")
def normalise(found: Matrix, taste: Matrix, weight: Matrix, bias: Matrix, least: float) -> None:
    """Make of vectors, room, what was attended to and what the vectors change, (4 width, r), the norm of vectors, their
    product with `taste`, what was attended to, and that changed.
    """
    width, rows, candidates = len(taste), len(found), found.shape[1]
    mean, scale = np.zeros(candidates, np.float32), np.zeros(candidates, np.float32)
    for k in range(width):
        vector, product, attended, changed = found[k], found[width + k], found[2 * width + k], found[3 * width + k]
        for j in range(candidates):
            product[j] = vector[j] * taste[k]
            changed[j] *= attended[j]
            mean[j] += vector[j] + product[j] + attended[j] + changed[j]
    for j in range(candidates):
        mean[j] /= rows
    for k in range(rows):
        row = found[k]
        for j in range(candidates):
            row[j] -= mean[j]
            scale[j] += row[j] * row[j]
    for j in range(candidates):
        scale[j] = 1 / np.sqrt(scale[j] / rows + least)
    for k in range(rows):
        row = found[k]
        for j in range(candidates):
            row[j] = row[j] * scale[j] * weight[k] + bias[k]


@compiled("f4(f4)")
def _exp(x: np.float32) -> np.float32:
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
def _gelu(x: np.float32) -> np.float32:
    """GELU, by an error function within 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    z = abs(x) * np.float32(0.7071067812)
    t = np.float32(1) / (np.float32(1) + np.float32(0.3275911) * z)
    tail = np.float32(1.061405429) * t - np.float32(1.453152027)
    tail = tail * t + np.float32(1.421413741)
    tail = tail * t - np.float32(0.284496736)
    tail = (tail * t + np.float32(0.254829592)) * t * _exp(-z * z)
    return np.float32(0.5) * (x + abs(x) * (np.float32(1) - tail))


@compiled("void(f4[:,::1], f4[:,::1], f4[:,::1])")
def _layer(weight: Matrix, x: Matrix, to: Matrix) -> None:
    """`weight` (out, 1 + in), the bias first, times x (in, n)."""
    whole = len(x) - len(x) % 4
    for out in range(len(weight)):
        row, factor = to[out], weight[out]
        row[:] = factor[0]
        for k in range(0, whole, 4):
            a, b, c, d = x[k], x[k + 1], x[k + 2], x[k + 3]
            by_a, by_b, by_c, by_d = factor[k + 1], factor[k + 2], factor[k + 3], factor[k + 4]
            for j in range(len(row)):
                row[j] += by_a * a[j] + by_b * b[j] + by_c * c[j] + by_d * d[j]
        for k in range(whole, len(x)):
            a, by_a = x[k], factor[k + 1]
            for j in range(len(row)):
                row[j] += by_a * a[j]


@compiled("void(f4[:,::1], f4[:,::1], f4, f4[:,::1])")
def _norm(x: Matrix, by: Matrix, least: float, to: Matrix) -> None:
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
def _softmax(x: Matrix) -> None:
    """Of each column of x (m, n), in place."""
    top, total = x[0].copy(), np.zeros(x.shape[1], np.float32)
    for k in range(1, len(x)):
        row = x[k]
        for j in range(len(top)):
            top[j] = max(top[j], row[j])
    for k in range(len(x)):
        row = x[k]
        for j in range(len(top)):
            row[j] = _exp(row[j] - top[j])
            total[j] += row[j]
    for k in range(len(x)):
        row = x[k]
        for j in range(len(top)):
            row[j] /= total[j]


@compiled("void(f4[:,::1], i8, f4[:,::1])")
def _look(qkv: Matrix, heads: int, seen: Matrix) -> None:
    """What events see of each other: queries, keys and values (3 width, n) -> (width, n)."""
    width, n = seen.shape
    each = width // heads
    for head in range(heads):
        near = np.zeros((n, n), np.float32)
        for k in range(head * each, (head + 1) * each):
            query, key = qkv[k], qkv[width + k]
            for event in range(n):
                row, by = near[event], key[event] / np.sqrt(np.float32(each))
                for j in range(n):
                    row[j] += by * query[j]
        _softmax(near)
        for k in range(head * each, (head + 1) * each):
            value, to = qkv[2 * width + k], seen[k]
            to[:] = 0
            for event in range(n):
                row, by = near[event], value[event]
                for j in range(n):
                    to[j] += by * row[j]


@compiled("void(f4[:,::1], f4[:,::1], UniTuple(f4[:,::1], 10), i8, f4, f4[:,::1], f4[::1])")
def encode(
    said: Matrix, moments: Matrix, by: tuple[Matrix, ...], heads: int, least: float, asked: Matrix, seen: Matrix
) -> None:
    """Events, of which `said` (2 width + 1, n) and `moments` (width, n) are told: what they ask goes to `asked`, their
    weighted mean and the last of them to `seen` (2 width,). `by` are layers, and norms as (2, width).
    """
    width, n = moments.shape
    event, before, qkv, out, between, up, down, norm, weigh, asks = by
    x, normed, more = np.empty_like(moments), np.empty_like(moments), np.empty_like(moments)
    wide, deep = np.empty((len(qkv), n), np.float32), np.empty((len(up), n), np.float32)
    weights = np.empty((n, 1), np.float32)
    _layer(event, said, x)
    x += moments
    _norm(x, before, least, normed)
    _layer(qkv, normed, wide)
    _look(wide, heads, normed)
    _layer(out, normed, more)
    x += more
    _norm(x, between, least, normed)
    _layer(up, normed, deep)
    for k in range(len(deep)):
        row = deep[k]
        for j in range(n):
            row[j] = _gelu(row[j])
    _layer(down, deep, more)
    x += more
    _norm(x, norm, least, normed)
    _layer(asks, normed, asked)
    _layer(weigh, normed, weights.reshape((1, n)))
    _softmax(weights)
    for k in range(width):
        seen[k] = np.float32(0)
        for j in range(n):
            seen[k] += weights[j, 0] * normed[k, j]
        seen[width + k] = normed[k, n - 1]
