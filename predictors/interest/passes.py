"""What `Folded` does, in compiled passes: started one by one, its many small operations cost more than what they do.

Arrays are float32 and hold candidates, or events, along the last axis, so that a loop over it takes many at once. Of
candidates some are seen through to their scores before the next ones, so that all they need stays in the first caches.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from predictors.compiled import compiled
from predictors.interest.layers import Matrix, add, exp, gelu, layer, norm, room, softmax

AT_ONCE = 128  # candidates


@compiled("void(f8[:,::1], f4[::1], f4[::1], f8, f4[:,::1])")
def standardise(raw: npt.NDArray[np.float64], mean: Matrix, scale: Matrix, most: float, to: Matrix) -> None:
    """Each row of `raw` (k, n) less its mean and times its scale, cut at `most` either way; 0 where it is NaN."""
    for k in range(len(raw)):
        row, said, middle, by = raw[k], to[k], mean[k], scale[k]
        for j in range(len(row)):
            value = (row[j] - middle) * by
            value = most if value > most else (-most if value < -most else value)
            said[j] = value if value == value else 0


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
        softmax(near)
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
    event, before, qkv, out, between, up, down, after, weigh, asks = by
    x, normed, more = np.empty_like(moments), np.empty_like(moments), np.empty_like(moments)
    wide, deep = np.empty((len(qkv), n), np.float32), np.empty((len(up), n), np.float32)
    weights = np.empty((n, 1), np.float32)
    layer(event, said, x)
    x += moments
    norm(x, before, least, normed)
    layer(qkv, normed, wide)
    _look(wide, heads, normed)
    layer(out, normed, more)
    x += more
    norm(x, between, least, normed)
    layer(up, normed, deep)
    for k in range(len(deep)):
        row = deep[k]
        for j in range(n):
            row[j] = gelu(row[j])
    layer(down, deep, more)
    x += more
    norm(x, after, least, normed)
    layer(asks, normed, asked)
    layer(weigh, normed, weights.reshape((1, n)))
    softmax(weights)
    for k in range(width):
        seen[k] = np.float32(0)
        for j in range(n):
            seen[k] += weights[j, 0] * normed[k, j]
        seen[width + k] = normed[k, n - 1]


@compiled("void(f4[:,::1], f4[:,::1], f4[:,:,::1], f4[:,::1], f4[:,::1])")
def _attend(vectors: Matrix, asks: Matrix, gives: Matrix, attended: Matrix, likeness: Matrix) -> None:
    """What candidates, whose `vectors` are (width, r), find in the events goes to `attended` (width, r), and how like
    them they are to `likeness`: of each head the most similar one, the value of the similar ones, then the means over
    the heads of the last events.
    """
    (heads, rows, n), r = gives.shape, vectors.shape[1]
    each, last = rows - 2, len(likeness) - 2 * heads
    attended[:], likeness[:] = 0, 0
    if not n:
        return
    near, found = room(heads * n, r), room(rows, r)
    layer(asks, vectors, near)
    for head in range(heads):
        own, top = near[head * n : (head + 1) * n], likeness[head]
        for event in range(max(n - last, 0), n):
            for j in range(r):
                likeness[len(likeness) - n + event, j] += own[event, j] / np.float32(heads)
        top[:] = own[0]
        for event in range(1, n):
            for j in range(r):
                top[j] = max(top[j], own[event, j])
        for event in range(n):
            for j in range(r):
                own[event, j] = exp(own[event, j] - top[j])
        found[:] = 0
        add(gives[head], own, found)  # a softmax, divided by its sum at the end
        attended[head * each : (head + 1) * each] = found[:each] / found[each + 1]
        likeness[heads + head] = found[each] / found[each + 1]


@compiled("void(f4[:,::1], f4[:,::1], f4[::1], f4[:,::1], f4)")
def _meet(x: Matrix, change: Matrix, taste: Matrix, by: Matrix, least: float) -> None:
    """Make of vectors, room, what was attended to and room, (4 width, r), the norm of vectors, their product with
    `taste`, what was attended to, and that times what the vectors `change`.
    """
    width = len(taste)
    layer(change, x[:width], x[3 * width :])
    for k in range(width):
        for j in range(x.shape[1]):
            x[width + k, j] = x[k, j] * taste[k]
            x[3 * width + k, j] *= x[2 * width + k, j]
    norm(x, by, least, x)


@compiled("void(f4[:,::1], f4[:,::1], f4[:,::1])")
def _times(a: Matrix, b: Matrix, to: Matrix) -> None:
    for k in range(len(to)):
        for j in range(to.shape[1]):
            to[k, j] = a[k, j] * b[k, j]


@compiled("void(f4[:,::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,::1])")
def _conclude(
    x: Matrix, first: Matrix, crossed: Matrix, deep: Matrix, downs: Matrix, ups: Matrix, logits: Matrix
) -> None:
    """Add to `logits` (outputs, r) what features x (features, r) say: the cross layers multiply them by 1 and by what
    each of them brings up.
    """
    rank, hidden = ups.shape[2] - 1, deep.shape[1]
    n = x.shape[1]
    said, scale, scaled = room(len(first), n), room(len(x), n), room(len(x), n)
    scale[:] = 1
    layer(first, x, said)
    narrow, wide = said[:rank], said[rank : rank + hidden]
    for number in range(len(ups)):
        if number:
            narrow[:] = 0
            _times(scale, x, scaled)
            add(downs[number - 1], scaled, narrow)
        for k in range(len(x)):
            scale[k] += ups[number, k, 0]
        add(ups[number, :, 1:], narrow, scale)
    for k in range(hidden):
        for j in range(x.shape[1]):
            wide[k, j] = gelu(wide[k, j])
    logits += said[rank + hidden :]
    _times(scale, x, scaled)
    add(crossed, scaled, logits)
    add(deep, wide, logits)


@compiled(
    "void(f4[:,::1], f4[:,::1], f4[::1], f4[::1], f4[:,::1], f4[:,::1], f4[:,:,::1], UniTuple(f4[:,::1], 5), "
    "UniTuple(f4[:,:,::1], 2), f4, f4[:,::1])"
)
def answer(
    contents: Matrix,
    context: Matrix,
    taste: Matrix,
    level: Matrix,
    leans: Matrix,
    asks: Matrix,
    gives: Matrix,
    by: tuple[Matrix, ...],
    crosses: tuple[Matrix, ...],
    least: float,
    logits: Matrix,
) -> None:
    """The `logits` (outputs, r) of candidates, rows of `contents` (r, …) as `Represented.packed` has them, in `context`
    (statistics, r). The others are what `Asked` and `Folded` hold.
    """
    (change, found, first, crossed, deep), (downs, ups) = by, crosses
    width, outputs, features, r = len(taste), len(level), ups.shape[1], min(AT_ONCE, len(contents))
    x, said = room(features, r), room(outputs, r)
    own = features - 2 * outputs
    told = own - len(context)
    for row in range(0, len(contents), AT_ONCE):
        begin = min(row, len(contents) - r)  # the last ones meet some of those before again
        some = contents[begin : begin + r].T
        x[:width], said[:] = some[:width], 0
        add(leans, x[:width], said)
        _attend(x[:width], asks, gives, x[2 * width : 3 * width], x[4 * width : told])
        _meet(x[: 4 * width], change, taste, found, least)
        x[told:own] = context[:, begin : begin + r]
        for k in range(outputs):
            x[own + k] = level[k]
        x[own + outputs :] = some[2 * width : 2 * width + outputs]
        _conclude(x, first, crossed, deep, downs, ups, said)
        logits[:, begin : begin + r] = said
