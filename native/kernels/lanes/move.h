// Tensors moved about: copies, maps of places, interpolation along one axis, and tensors of the network's own. plan/tensors.py writes
// the maps.
#pragma once
#include <string.h>

#include "op.h"

namespace striate::STRIATE_ISA {

// ── copies ───────────────────────────────────────────────────────────────────────────────────────

// y = or += factor · x.
static void forward(const At& at, const Copy& o) {
  const auto factor = static_cast<float>(o.factor);
  const V* x = arena(at) + o.x;
  V* y = arena(at) + o.y;
  for (int64_t j = begin_of(at.share, o.count), end = end_of(at.share, o.count); j < end; ++j)
    y[j] = o.add ? y[j] + factor * x[j] : factor * x[j];
}
static void backward(const At& at, const Copy& o) {
  const auto factor = static_cast<float>(o.factor);
  each_back(at, o, [factor](V, V, V dy) { return factor * dy; });
}

// ── maps ─────────────────────────────────────────────────────────────────────────────────────────

// y[j] = x[map[j]], or a constant where the map says -1; or y[map[j]] = x[j].
static void forward(const At& at, const Move& o) {
  const int32_t* map = at.run.program.table + o.map;
  const auto otherwise = static_cast<float>(o.otherwise);
  const V* x = arena(at) + o.x;
  V* y = arena(at) + o.y;
  const int64_t begin = begin_of(at.share, o.count), end = end_of(at.share, o.count);
  if (o.scatter)
    for (int64_t j = begin; j < end; ++j) y[map[j]] = x[j];
  else
    for (int64_t j = begin; j < end; ++j) y[j] = map[j] < 0 ? splat(otherwise) : x[map[j]];
}

// One thread: a place that was taken several times gets the sum.
static void backward(const At& at, const Move& o) {
  const int32_t* map = at.run.program.table + o.map;
  const V* dy = arena(at) + o.dy;
  V* dx = arena(at) + o.dx;
  if (o.scatter) {
    for (int64_t j = 0; j < o.count; ++j) put(dx + j, dy[map[j]], o.accumulate);
    return;
  }
  if (!o.accumulate) memset(dx, 0, o.sources * sizeof(V));
  for (int64_t j = 0; j < o.count; ++j)
    if (map[j] >= 0) dx[map[j]] += dy[j];
}

// ── interpolation along one axis ─────────────────────────────────────────────────────────────────

// (outer, H, inner) → (outer, P, inner). Position p is the sum of taps starts[p] … starts[p + 1]; without any, a constant.
struct Resampling {
  int64_t H, P, inner;
  const int32_t *starts, *places;
  const float* shares;
};

static void resample(const Resampling& o, const V* x, V* y, float otherwise, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i)
    for (int64_t p = 0; p < o.P; ++p) {
      V* line = y + (i * o.P + p) * o.inner;
      const bool none = o.starts[p] == o.starts[p + 1];
      for (int64_t j = 0; j < o.inner; ++j) line[j] = splat(none ? otherwise : 0.0f);
      for (int32_t t = o.starts[p]; t < o.starts[p + 1]; ++t) {
        const V* from = x + (i * o.H + o.places[t]) * o.inner;
        for (int64_t j = 0; j < o.inner; ++j) line[j] += o.shares[t] * from[j];
      }
    }
}

static void resample_backward(const Resampling& o, const V* dy, V* dx, bool add, int64_t begin, int64_t end) {
  if (!add) memset(dx + begin * o.H * o.inner, 0, (end - begin) * o.H * o.inner * sizeof(V));
  for (int64_t i = begin; i < end; ++i)
    for (int64_t p = 0; p < o.P; ++p) {
      const V* line = dy + (i * o.P + p) * o.inner;
      for (int32_t t = o.starts[p]; t < o.starts[p + 1]; ++t) {
        V* to = dx + (i * o.H + o.places[t]) * o.inner;
        for (int64_t j = 0; j < o.inner; ++j) to[j] += o.shares[t] * line[j];
      }
    }
}

static Resampling resampling_of(const At& at, const Resample& o) {
  const int32_t* table = at.run.program.table;
  return {o.h, o.p, o.w, table + o.starts, table + o.places, reinterpret_cast<const float*>(table + o.shares)};
}

static void forward(const At& at, const Resample& o) {
  resample(resampling_of(at, o), arena(at) + o.x, arena(at) + o.y, static_cast<float>(o.otherwise), begin_of(at.share, o.c),
           end_of(at.share, o.c));
}
static void backward(const At& at, const Resample& o) {
  resample_backward(resampling_of(at, o), arena(at) + o.dy, arena(at) + o.dx, o.accumulate != 0, begin_of(at.share, o.c),
                    end_of(at.share, o.c));
}

// ── tensors of the network's own ─────────────────────────────────────────────────────────────────

static void forward(const At& at, const Value& o) {
  const float* from = o.weight >= 0 ? at.run.call.parameters + o.weight : at.run.call.state + o.state;
  V* y = arena(at) + o.y;
  for (int64_t j = begin_of(at.share, o.count), end = end_of(at.share, o.count); j < end; ++j) y[j] = splat(from[j]);
}
static void backward(const At& at, const Value& o) {
  if (o.weight < 0 || o.dy < 0) return;
  const V* dy = arena(at) + o.dy;
  for (int64_t j = begin_of(at.share, o.count), end = end_of(at.share, o.count); j < end; ++j)
    at.slot[o.weight + j] += horizontal_sum(dy[j]);
}

}  // namespace striate::STRIATE_ISA
