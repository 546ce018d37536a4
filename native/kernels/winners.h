// Backward through a convolution and the 2×2 max pool after it, by the pool's winners alone: three quarters of the
// convolution's dy are zero (more with a ReLU between), at places that differ from image to image. So here an image is
// laid out by itself, (rows, columns, channels), a window's row being one run of floats; each image has, a filter, the
// list of its winners; and a winner costs R runs of multiply-adds for dw, and as many for dx. Lanes without an image
// have empty lists and cost nothing.
//
// Register budget: ROWS·VECTORS ≤ WINNERS_MOST accumulators or weights, and the broadcast upstream gradient.
#pragma once
#include <string.h>

#include "images.h"
#include "lanes/op.h"

namespace striate::STRIATE_ISA {

constexpr int WINNERS_MOST = L >= 16 ? 25 : 10;

// Where a winner's window begins in its image, row · 65536 + column, and the gradient that passes through it.
struct __attribute__((may_alias)) Winner {
  int32_t at;
  float value;
  int64_t offset(int64_t row, int64_t pitch) const { return (at >> 16) * row + (at & 0xffff) * pitch; }
};

// dw of ROWS filter rows × VECTORS, of one filter and one image, added to `total`. Two winners at a time where
// registers allow: a chain of multiply-adds has a latency of four.
template <int ROWS, int VECTORS>
static void winners_weight(const float* x, const Winner* list, int64_t count, int64_t row, int64_t pitch, float* total,
                           int64_t run) {
  constexpr int SETS = ROWS * VECTORS * 2 <= WINNERS_MOST ? 2 : 1;
  V acc[SETS][ROWS][VECTORS];
#pragma GCC unroll 2
  for (int s = 0; s < SETS; ++s)
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
      for (int j = 0; j < VECTORS; ++j) acc[s][r][j] = V{};
  int64_t i = 0;
  for (; i + SETS <= count; i += SETS)
#pragma GCC unroll 2
    for (int s = 0; s < SETS; ++s) {
      const float* at = x + list[i + s].offset(row, pitch);
      const V upstream = splat(list[i + s].value);
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; ++r, at += row)
#pragma GCC unroll 8
        for (int j = 0; j < VECTORS; ++j) acc[s][r][j] += upstream * *reinterpret_cast<const VU*>(at + j * L);
    }
  if (i < count) {
    const float* at = x + list[i].offset(row, pitch);
    const V upstream = splat(list[i].value);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
      for (int j = 0; j < VECTORS; ++j) acc[0][r][j] += upstream * *reinterpret_cast<const VU*>(at + r * row + j * L);
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; ++j) {
      V sum = acc[0][r][j];
      if constexpr (SETS == 2) sum += acc[1][r][j];
      *reinterpret_cast<VU*>(total + r * run + j * L) += sum;
    }
}

// dx of one image: each winner adds its filter, ROWS rows × VECTORS of it, where its window lies. Pixels lie a multiple of
// a cache line apart here: a load that straddles two earlier stores would wait for both.
template <int ROWS, int VECTORS>
static void winners_input(float* dx, const Winner* list, int64_t count, int64_t row, int64_t pitch, const float* w,
                          int64_t run) {
  V weight[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; ++j) weight[r][j] = *reinterpret_cast<const VU*>(w + r * run + j * L);
  for (int64_t i = 0; i < count; ++i) {
    float* at = dx + list[i].offset(row, pitch);
    const V upstream = splat(list[i].value);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r, at += row)
#pragma GCC unroll 8
      for (int j = 0; j < VECTORS; ++j) *reinterpret_cast<VU*>(at + j * L) += upstream * weight[r][j];
  }
}

// What one winner sends to dx: so much of filter `k`.
struct __attribute__((may_alias)) Pull {
  int32_t k;
  float value;
};

// The winners of one image by where their windows begin, over all filters: those of place t are pulls[starts[t]] up to
// pulls[starts[t + 1]]. Place row · across + column, of `down` rows.
struct WinnerOrder {
  int64_t down, across;
  int32_t* starts;            // down · across + 1
  Pull* pulls;
  int64_t place(const Winner& winner) const { return (winner.at >> 16) * across + (winner.at & 0xffff); }
};

static void order_winners(const WinnerOrder& o, const Winner* lists, const int32_t* counts, int64_t K, int64_t most) {
  const int64_t places = o.down * o.across;
  memset(o.starts, 0, (places + 1) * sizeof(int32_t));
  for (int64_t k = 0; k < K; ++k)
    for (const Winner *at = lists + k * most, *end = at + counts[k]; at < end; ++at) ++o.starts[o.place(*at)];
  int32_t total = 0;
  for (int64_t t = 0; t <= places; ++t) o.starts[t] = total += o.starts[t];
  for (int64_t k = K - 1; k >= 0; --k)  // from behind, so that each start ends up where its place begins
    for (const Winner *begin = lists + k * most, *at = begin + counts[k] - 1; at >= begin; --at)
      o.pulls[--o.starts[o.place(*at)]] = {static_cast<int32_t>(k), at->value};
}

// The same for many filters, ROWS rows × VECTORS of each window taken up once for all that pull at it.
template <int ROWS, int VECTORS>
static void ordered_input(float* dx, const WinnerOrder& order, int64_t row, int64_t pitch, const float* w, int64_t filter,
                          int64_t run) {
  for (int64_t y = 0, t = 0; y < order.down; ++y)
    for (int64_t x = 0; x < order.across; ++x, ++t) {
      const Pull *pull = order.pulls + order.starts[t], *end = order.pulls + order.starts[t + 1];
      if (pull == end) continue;
      float* at = dx + y * row + x * pitch;
      V acc[ROWS][VECTORS];
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
        for (int j = 0; j < VECTORS; ++j) acc[r][j] = *reinterpret_cast<const VU*>(at + r * row + j * L);
      for (; pull < end; ++pull) {
        const float* weight = w + pull->k * filter;
        const V upstream = splat(pull->value);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r, weight += run)
#pragma GCC unroll 8
          for (int j = 0; j < VECTORS; ++j) acc[r][j] += upstream * *reinterpret_cast<const VU*>(weight + j * L);
      }
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 8
        for (int j = 0; j < VECTORS; ++j) *reinterpret_cast<VU*>(at + r * row + j * L) = acc[r][j];
    }
}

struct WinnerTile {
  void (*weight)(const float*, const Winner*, int64_t, int64_t, int64_t, float*, int64_t);
  void (*input)(float*, const Winner*, int64_t, int64_t, int64_t, const float*, int64_t);
  void (*ordered)(float*, const WinnerOrder&, int64_t, int64_t, const float*, int64_t, int64_t);
};

template <int ROWS, int VECTORS>
static WinnerTile winner_tile_of(int64_t vectors) {
  if constexpr (VECTORS > 1 && ROWS * VECTORS > WINNERS_MOST) return winner_tile_of<ROWS, VECTORS - 1>(vectors);
  else {
    if (VECTORS == 1 || vectors >= VECTORS) return {winners_weight<ROWS, VECTORS>, winners_input<ROWS, VECTORS>, ordered_input<ROWS, VECTORS>};
    return winner_tile_of<ROWS, VECTORS == 1 ? 1 : VECTORS - 1>(vectors);
  }
}

static WinnerTile winner_tile(int64_t rows, int64_t vectors) {
  switch (rows) {
    case 1: return winner_tile_of<1, 8>(vectors);
    case 2: return winner_tile_of<2, 8>(vectors);
    case 3: return winner_tile_of<3, 8>(vectors);
    case 4: return winner_tile_of<4, 6>(vectors);
    default: return winner_tile_of<5, 5>(vectors);
  }
}

struct WinnerPiece {
  int64_t row, rows, vector, vectors;
};

// How a filter of R rows, `run` floats each, is cut into tiles of nearly equal size.
struct WinnerCut {
  int64_t R, vectors, rows, across;  // pieces in both directions
  WinnerCut(int64_t filter_rows, int64_t run) : R(filter_rows), vectors(run / L) {
    rows = (R + 4) / 5;
    const int64_t tall = (R + rows - 1) / rows, most = WINNERS_MOST / tall < 8 ? WINNERS_MOST / tall : 8;
    across = (vectors + most - 1) / most;
  }
  WinnerPiece piece(int64_t index) const {
    const int64_t i = index / across, j = index % across, row = i * R / rows, vector = j * vectors / across;
    return {row, (i + 1) * R / rows - row, vector, (j + 1) * vectors / across - vector};
  }
};

// The winners of channels first … last of a 2×2 pool: lists[(lane·C + channel)·P·Q + …], counts[lane·C + channel].
// x is what the pool read, dy what comes from above; with relu a winner of 0 or less lets nothing through.
// sums[channel] += Σ of what passed. Lists are made for lanes that hold images.
static void find_winners(const V* x, const V* y, const V* dy, Winner* lists, int32_t* counts, int64_t C, int64_t H,
                         int64_t W, int64_t P, int64_t Q, int64_t down, int64_t across, bool relu, float* sums,
                         int64_t first, int64_t last, int images) {
  for (int64_t c = first; c < last; ++c) {
    const V *plane = x + c * H * W, *best = y + c * P * Q, *upstream = dy + c * P * Q;
    V total{};
    Winner* next[L];
    for (int l = 0; l < L; ++l) next[l] = lists + (l * C + c) * P * Q;
    for (int64_t at = 0, p = 0, q = 0; at < P * Q; at += L) {
      V value[L], place[L];
      const int64_t left = P * Q - at < L ? P * Q - at : L;
      for (int64_t t = 0; t < left; ++t) {
        const V *top = plane + 2 * p * W + 2 * q, *bottom = top + W, most = best[at + t];
        const VI one = top[0] == most, two = (top[1] == most) & ~one, three = (bottom[0] == most) & ~(one | two);
        const VI four = (bottom[1] == most) & ~(one | two | three);
        const V passed = choose(relu ? (one | two | three | four) & (most > 0.0f) : one | two | three | four,
                                upstream[at + t], V{});
        total += passed;
        value[t] = passed;
        const auto base = static_cast<int32_t>(2 * p * down + 2 * q * across);
        const VI where = base + ((two | four) & static_cast<int32_t>(across)) +
                         ((three | four) & static_cast<int32_t>(down));
        __builtin_memcpy(&place[t], &where, sizeof where);
        if (++q == Q) q = 0, ++p;
      }
      for (int64_t t = left; t < L; ++t) value[t] = place[t] = V{};
      turn_over_step<L / 2>(value);
      turn_over_step<L / 2>(place);
      for (int l = 0; l < images; ++l) {
        float values[L];
        int32_t places[L];
        __builtin_memcpy(values, &value[l], sizeof values);
        __builtin_memcpy(places, &place[l], sizeof places);
        Winner* to = next[l];
#pragma GCC unroll 16
        for (int t = 0; t < L; ++t) {
          // Written always, counted if it is one: the last place of a list may be written for nothing, never beyond it.
          if (t >= left) break;
          *to = {places[t], values[t]};
          to += values[t] != 0.0f;
        }
        next[l] = to;
      }
    }
    for (int l = 0; l < images; ++l) counts[l * C + c] = static_cast<int32_t>(next[l] - (lists + (l * C + c) * P * Q));
    if (sums) sums[c] += horizontal_sum(total);
  }
}

// ── the op ───────────────────────────────────────────────────────────────────────────────────────

// Filters as winners_input reads them: one after another, each row of each a run of floats.
static void prepare_winners(const Program& program, const Conv& o, const float* parameters, float* packed) {
  const int64_t filter = o.r * o.dx_run, size = o.c * o.r * o.s;
  const int32_t* index = program.table + o.dx_index;
  for (int64_t k = 0; k < o.k; ++k)
    for (int64_t j = 0; j < filter; ++j)
      packed[o.back_packed + k * filter + j] = index[j] < 0 ? 0.0f : parameters[o.weight + k * size + index[j]];
}

static Stages winners_stages(const Conv& o) { return {0, o.dx >= 0 ? 4 : 3}; }

// What ordering one image's winners takes: where the places begin, and a pull (two floats) for each. As in plan/images.py.
static int64_t order_floats(const Conv& o) {
  const int64_t places = ((o.p - 1) * o.stride_h + 1) * ((o.q - 1) * o.stride_w + 1);
  return (places + 2) / 2 * 2 + 2 * o.k * o.pool_p * o.pool_q;
}

// Stage 0 lists the winners of the pool; 1 lays x out image by image; 2 makes dw (shares of the filters) and dx (shares of the
// images) from the lists; 3 turns dx back into lanes.
static void winners_backward(const At& at, const Conv& o) {
  const Share share = at.share;
  V* a = arena(at);
  float* slot = at.slot;
  const int32_t *table = at.run.program.table, *row_map = table + o.image_row_map;
  const int64_t rows = o.image_rows, width = o.image_width, image = rows * width + RUN, dx_width = o.dx_width;
  const int64_t dx_image = rows * dx_width + RUN, pooled = o.pool_p * o.pool_q, filter = o.r * o.image_run;
  const bool wanted = o.dx >= 0;
  const int images = at.images;
  auto *x = reinterpret_cast<float*>(a + o.image_x), *dw = reinterpret_cast<float*>(a + o.image_dw);
  float* dx = wanted ? reinterpret_cast<float*>(a + o.image_dx) : nullptr;
  auto* lists = reinterpret_cast<Winner*>(a + o.d_map);
  auto* counts = reinterpret_cast<int32_t*>(lists + L * o.k * pooled);
  const int64_t first = begin_of(share, o.k), last = end_of(share, o.k);
  if (at.stage == 0)
    return find_winners(a + o.map, a + o.y, a + o.dy, lists, counts, o.k, o.p, o.q, o.pool_p, o.pool_q, o.stride_h << 16,
                        o.stride_w, o.relu != 0, place_in(slot, o.bias), first, last, images);
  if (at.stage == 1) {
    to_images(a + o.x, x, o.w, width, image, row_map, table + o.image_col_map, begin_of(share, rows), end_of(share, rows), images);
    if (!wanted) return;
    for (int64_t l = begin_of(share, images); l < end_of(share, images); ++l) memset(dx + l * dx_image, 0, dx_image * sizeof(float));
    if (!o.accumulate)
      memset(a + o.dx + begin_of(share, o.c) * o.h * o.w, 0, (end_of(share, o.c) - begin_of(share, o.c)) * o.h * o.w * sizeof(V));
    return;
  }
  if (at.stage == 3)
    return from_images(dx, a + o.dx, o.w, dx_width, dx_image, row_map, table + o.dx_col_map, begin_of(share, rows),
                       end_of(share, rows), o.accumulate != 0, false, images);
  memset(dw + first * filter, 0, (last - first) * filter * sizeof(float));
  // Image by image, so that it stays close; a filter is cut where its accumulators would not fit.
  const WinnerCut cut(o.r, o.image_run);
  for (int64_t piece = 0; piece < cut.rows * cut.across; ++piece) {
    const WinnerPiece part = cut.piece(piece);
    const WinnerTile tile = winner_tile(part.rows, part.vectors);
    for (int64_t l = 0; l < images; ++l)
      for (int64_t k = first; k < last; ++k)
        tile.weight(x + l * image + part.row * width + part.vector * L, lists + (l * o.k + k) * pooled, counts[l * o.k + k],
                    width, o.image_pitch, dw + k * filter + part.row * o.image_run + part.vector * L, o.image_run);
  }
  const int32_t* index = table + o.image_index;
  for (int64_t k = first; k < last; ++k)
    for (int64_t j = 0; j < filter; ++j)
      if (index[j] >= 0) slot[o.weight + k * o.c * o.r * o.s + index[j]] += dw[k * filter + j];
  if (!wanted) return;
  const WinnerCut back(o.r, o.dx_run);
  const auto pieces = [&](auto with) {
    for (int64_t piece = 0; piece < back.rows * back.across; ++piece) {
      const WinnerPiece part = back.piece(piece);
      with(winner_tile(part.rows, part.vectors), part.row * dx_width + part.vector * L,
           at.run.packed + o.back_packed + part.row * o.dx_run + part.vector * L);
    }
  };
  const int64_t begin = begin_of(share, images), end = end_of(share, images), turned = o.r * o.dx_run;
  if (o.image_order < 0)
    return pieces([&](const WinnerTile& tile, int64_t corner, const float* w) {
      for (int64_t l = begin; l < end; ++l)
        for (int64_t k = 0; k < o.k; ++k)
          tile.input(dx + l * dx_image + corner, lists + (l * o.k + k) * pooled, counts[l * o.k + k], dx_width, o.dx_pitch,
                     w + k * turned, o.dx_run);
    });
  // A share orders the winners of its images one after another, in the place of its first one.
  const int64_t down = (o.p - 1) * o.stride_h + 1, across = (o.q - 1) * o.stride_w + 1;
  auto* starts = reinterpret_cast<int32_t*>(a + o.image_order) + begin * order_floats(o);
  const WinnerOrder order{down, across, starts, reinterpret_cast<Pull*>(starts + (down * across + 2) / 2 * 2)};
  for (int64_t l = begin; l < end; ++l) {
    order_winners(order, lists + l * o.k * pooled, counts + l * o.k, o.k, pooled);
    pieces([&](const WinnerTile& tile, int64_t corner, const float* w) {
      tile.ordered(dx + l * dx_image + corner, order, dx_width, o.dx_pitch, w, turned, o.dx_run);
    });
  }
}

}  // namespace striate::STRIATE_ISA
