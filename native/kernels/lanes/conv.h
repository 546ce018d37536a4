// A convolution, with the ReLU and the 2×2 pool that are fused with it: dense (windows.h), image by image where a micro-batch holds
// few (images.h), and backward through the winners of the pool (winners.h).
//   x (c, h, w), or expanded (c, expanded_h, expanded_w); y (k, p, q), or (k, pool_p, pool_q)
#pragma once
#include <string.h>

#include "../images.h"
#include "../winners.h"
#include "op.h"
#include "pool.h"
#include "windows.h"

namespace striate::STRIATE_ISA {

// Weights in the order their tiles read them: forward, and in training backward. Writes packed weights alone, from parameters alone.
static void prepare(const Program& program, const Conv& o, const float* parameters, float* packed) {
  const int64_t size = o.k * (o.c / o.groups) * o.r * o.s;
  const int32_t *index = program.table + o.pack, *back = program.table + o.back_pack;
  for (int64_t j = 0; j < size; ++j) packed[o.packed + j] = parameters[index[j]];
  if (o.few_index >= 0) prepare_few(program, o, parameters, packed);
  if (!program.frame.training || o.dx < 0) return;
  if (o.winners) prepare_winners(program, o, parameters, packed);
  else
    for (int64_t j = 0; j < size; ++j) packed[o.back_packed + j] = parameters[back[j]];
}

static void expand_planes(const V* x, V* out, int64_t begin, int64_t end, int64_t H, int64_t W, int64_t HE, int64_t WE,
                          const int32_t* row, const int32_t* col) {
  expand(x + begin * H * W, out + begin * HE * WE, end - begin, H, W, HE, WE, row, col);
}

// Stage 0 lays x out, 1 convolves, 2 is the pool after it.
static void dense_forward(const At& at, const Conv& o) {
  const Share share = at.share;
  V* a = arena(at);
  const int32_t* table = at.run.program.table;
  const V* x = a + (o.expanded >= 0 ? o.expanded : o.x);
  if (at.stage == 0)
    return expand_planes(a + o.x, a + o.expanded, begin_of(share, o.c), end_of(share, o.c), o.h, o.w, o.expanded_h, o.expanded_w,
                         table + o.row_map, table + o.col_map);
  if (at.stage == 2) return pool_of_map(at, o);
  const int64_t groups = o.groups, per_in = o.c / groups, per_out = o.k / groups, taps = per_in * o.r * o.s;
  V* y = a + (o.pooled && !o.in_registers ? o.map : o.y);
  for (int64_t g = 0; g < groups; ++g) {
    const float* bias = o.bias >= 0 ? at.run.call.parameters + o.bias + g * per_out : nullptr;
    const int64_t map = o.in_registers ? o.pool_p * o.pool_q : o.p * o.q;
    convolve({x + g * per_in * o.expanded_h * o.expanded_w, y + g * per_out * map, per_out, o.p, o.q, o.expanded_w,
              per_in * o.expanded_h * o.expanded_w * static_cast<int64_t>(sizeof(V)), o.stride_h, o.stride_w, taps, o.r, o.s,
              o.expanded >= 0 ? table + o.row_map : nullptr, table + o.taps,
              at.run.packed + o.packed + g * per_out * taps, bias, o.relu != 0, false, o.in_registers != 0},
             share);
  }
}

// Stage 0 goes back through the pool, and the ReLU before it with db; 1 through the ReLU, and lays dy out; 2 makes dw and dx.
static void dense_backward(const At& at, const Conv& o) {
  if (at.stage == 0) return pool_of_map_back(at, o);
  const Share share = at.share;
  V* a = arena(at);
  const int32_t* table = at.run.program.table;
  if (at.stage == 1) {
    const V* dy = relu_of_map_back(at, o);
    if (o.dx >= 0)
      expand_planes(dy, a + o.back, begin_of(share, o.k), end_of(share, o.k), o.p, o.q, o.back_h, o.back_w,
                    table + o.back_row_map, table + o.back_col_map);
    return;
  }
  const V *x = a + (o.expanded >= 0 ? o.expanded : o.x), *dy = a + (o.pooled ? o.d_map : o.dy);
  const int64_t groups = o.groups, per_in = o.c / groups, per_out = o.k / groups, taps = per_in * o.r * o.s;
  for (int64_t g = 0; g < groups; ++g) {
    const int32_t* offset = table + o.taps;
    const int64_t step = o.s > 1 ? offset[1] - offset[0] : 0;
    weight_gradient({x + g * per_in * o.expanded_h * o.expanded_w, dy + g * per_out * o.p * o.q, o.p, o.q, o.expanded_w,
                     o.stride_h, o.stride_w, step, o.expanded >= 0 ? table + o.row_map : nullptr, at.slot},
                    per_out, per_in, o.r, o.s, o.expanded_h * o.expanded_w, offset, table + o.pack + g * per_out * taps,
                    begin_of(share, per_out, KT_MOST), end_of(share, per_out, KT_MOST));
  }
  if (o.dx < 0) return;
  const bool direct = o.back_out < 0;  // dx itself, or a larger image that unexpand gathers
  V* out = a + (direct ? o.dx : o.back_out);
  const int64_t back_taps = per_out * o.r * o.s;
  for (int64_t g = 0; g < groups; ++g)
    convolve({a + o.back + g * per_out * o.back_h * o.back_w, out + g * per_in * o.back_p * o.back_q,
              per_in, o.back_p, o.back_q, o.back_w,
              per_out * o.back_h * o.back_w * static_cast<int64_t>(sizeof(V)), o.back_stride_h, o.back_stride_w,
              back_taps, o.r, o.s, table + o.back_row_map, table + o.back_taps, at.run.packed + o.back_packed + g * per_in * back_taps, nullptr, false,
              direct && o.accumulate != 0},
             share);
  if (direct) return;
  // A program with such a layer is never cut into shares: see sharable.
  if (!o.accumulate) memset(a + o.dx, 0, o.c * o.h * o.w * sizeof(V));
  unexpand(out, a + o.dx, o.c, o.h, o.w, o.expanded_h, o.expanded_w, table + o.row_map, table + o.col_map);
}

// ── which way ────────────────────────────────────────────────────────────────────────────────────

static Stages forward_stages(const Conv& o, int images) {
  if (few(o, images)) return few_stages(o);
  return {o.expanded >= 0 ? 0 : 1, o.pooled && !o.in_registers ? 3 : 2};
}

static void forward(const At& at, const Conv& o) { return few(o, at.images) ? few_forward(at, o) : dense_forward(at, o); }

static Stages backward_stages(const Conv& o) {
  if (o.winners) return winners_stages(o);
  return {o.pooled ? 0 : 1, 3};
}

static void backward(const At& at, const Conv& o) { return o.winners ? winners_backward(at, o) : dense_backward(at, o); }

}  // namespace striate::STRIATE_ISA
