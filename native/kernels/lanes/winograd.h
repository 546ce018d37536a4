// A convolution of 3×3 or 5×5 filters, stride 1, by Winograd's tiles (../winograd.h), with the ReLU and the 2×2 pool that are fused
// with it. Tiles are taken in blocks: of each block all channels are transformed, and then, for each of 36 points, products of
// numbers by vectors sum over channels (forward), filters (dx), or images and tiles (dw).
//   x (c, h, w); y (k, p, q), or (k, pool_p, pool_q)
//   u [point][filters / PANEL][c][PANEL]: G w Gᵀ, floats, made by prepare
//   v [point][c][tile]: Bᵀ x B; turned [point][tile, image][c in lanes]: the same for dw; d [point][k][tile]: A dy Aᵀ
// Points lie WINOGRAD_GAP vectors further apart than they must: at powers of two, all 36 would share a few sets of the cache.
//
// Register budget: a product holds ROWS·COLUMNS accumulators, at most 24 of 512 bits or 12 where there are 16 registers; the shorter
// side's operands stay in registers, the longer side's come one by one.
#pragma once
#include <string.h>

#include "../winograd.h"
#include "op.h"
#include "pool.h"

namespace striate::STRIATE_ISA {

// ── products ─────────────────────────────────────────────────────────────────────────────────────

// y[i][j] = Σ a[i·a_row + t·a_step]·b[t·b_step + j] over t < length; after each `run` steps a goes on a_run floats further.
struct Product {
  int64_t a_row, a_step, a_run, run, length, b_step, y_row;
};

template <int ROWS, int COLUMNS>
static void product_tile(const Product& o, const float* a, const V* b, V* y) {
  V acc[ROWS][COLUMNS];
#pragma GCC unroll 6
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < COLUMNS; ++j) acc[i][j] = V{};
  const int64_t row = o.a_row;
  for (int64_t left = o.length; left > 0; left -= o.run, a += o.a_run) {
    const float* at = a;
    for (int64_t t = left < o.run ? left : o.run; t > 0; --t, at += o.a_step, b += o.b_step) {
      if constexpr (ROWS < COLUMNS) {
        V factor[ROWS];
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; ++i) factor[i] = in_register(splat(at[i * row]));
#pragma GCC unroll 4
        for (int j = 0; j < COLUMNS; ++j) {
          const V value = in_register(b[j]);
#pragma GCC unroll 6
          for (int i = 0; i < ROWS; ++i) acc[i][j] += factor[i] * value;
        }
      } else {
        V value[COLUMNS];
#pragma GCC unroll 4
        for (int j = 0; j < COLUMNS; ++j) value[j] = in_register(b[j]);
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; ++i) {
          const V factor = in_register(splat(at[i * row]));
#pragma GCC unroll 4
          for (int j = 0; j < COLUMNS; ++j) acc[i][j] += factor * value[j];
        }
      }
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < COLUMNS; ++j) y[i * o.y_row + j] = acc[i][j];
}

using ProductTile = void (*)(const Product&, const float*, const V*, V*);
constexpr int64_t PRODUCT_COLUMNS = 4;
constexpr int64_t product_rows(int64_t columns) { return L >= 16 || columns <= 2 ? 6 : columns == 3 ? 4 : 3; }

template <int COLUMNS, int ROWS = product_rows(COLUMNS)>
static ProductTile product_tile_of(int64_t rows) {
  if constexpr (ROWS == 1) return product_tile<1, COLUMNS>;
  else return rows == ROWS ? product_tile<ROWS, COLUMNS> : product_tile_of<COLUMNS, ROWS - 1>(rows);
}

static ProductTile product_tile_for(int64_t rows, int64_t columns) {
  return columns == 1 ? product_tile_of<1>(rows) : columns == 2 ? product_tile_of<2>(rows)
       : columns == 3 ? product_tile_of<3>(rows) : product_tile_of<4>(rows);
}

// Tiles of nearly equal size.
static void product(const Product& o, const float* a, const V* b, V* y, int64_t rows, int64_t columns) {
  const int64_t across = (columns + PRODUCT_COLUMNS - 1) / PRODUCT_COLUMNS;
  for (int64_t m = 0; m < across; ++m) {
    const int64_t j = m * columns / across, width = (m + 1) * columns / across - j;
    const int64_t most = product_rows(width), down = (rows + most - 1) / most;
    for (int64_t n = 0; n < down; ++n) {
      const int64_t i = n * rows / down, height = (n + 1) * rows / down - i;
      product_tile_for(height, width)(o, a + i * o.a_row, b + j, y + i * o.y_row + j);
    }
  }
}

// ── tiles ────────────────────────────────────────────────────────────────────────────────────────

// Tiles begin … end of a block.
struct Tiles {
  int64_t begin, end, across, outputs;   // across: tiles in a row; outputs: on a side of one
  int64_t count() const { return end - begin; }
  int64_t row(int64_t tile) const { return tile / across * outputs; }     // of its first output
  int64_t column(int64_t tile) const { return tile % across * outputs; }
};

static inline int64_t up_by(int64_t count, int64_t by) { return (count + by - 1) / by; }

static int64_t tiles_of(const Winograd& o) {
  const int64_t outputs = winograd_outputs(static_cast<int>(o.r));
  return up_by(o.p, outputs) * up_by(o.q, outputs);
}

static int64_t blocks_of(const Winograd& o, int64_t most) { return up_by(tiles_of(o), most); }

static Tiles block_of(const Winograd& o, int64_t block, int64_t most) {
  const int64_t all = tiles_of(o), blocks = up_by(all, most), outputs = winograd_outputs(static_cast<int>(o.r));
  return {block * all / blocks, (block + 1) * all / blocks, up_by(o.q, outputs), outputs};
}

// Inputs of one tile, of which (row, column) is the first, through `with(load)`; a border of zeros around x (h, w).
template <class F>
static inline void with_inputs(const Winograd& o, const V* x, int64_t row, int64_t column, F with) {
  if (row >= 0 && column >= 0 && row + WINOGRAD_TILE <= o.h && column + WINOGRAD_TILE <= o.w) {
    const V* first = x + row * o.w + column;
    const int64_t w = o.w;
    return with([=](int i, int j) { return first[i * w + j]; });
  }
  V inputs[WINOGRAD_TILE][WINOGRAD_TILE];
  for (int64_t i = 0; i < WINOGRAD_TILE; ++i)
    for (int64_t j = 0; j < WINOGRAD_TILE; ++j) {
      const bool inside = row + i >= 0 && row + i < o.h && column + j >= 0 && column + j < o.w;
      inputs[i][j] = inside ? x[(row + i) * o.w + column + j] : V{};
    }
  with([&](int i, int j) { return inputs[i][j]; });
}

// A share's filters or channels begin at multiples of so many.
constexpr int64_t WINOGRAD_UNIT = 4;

// Of filter k and channel c at a point, among the packed filters.
static int64_t place_of_filter(const Winograd& o, int64_t point, int64_t k, int64_t c) {
  const int64_t pitch = up_by(o.k, WINOGRAD_PANEL) * o.c * WINOGRAD_PANEL + WINOGRAD_FILTER_GAP;
  return o.packed + point * pitch + (k / WINOGRAD_PANEL * o.c + c) * WINOGRAD_PANEL + k % WINOGRAD_PANEL;
}

// ── prepare ──────────────────────────────────────────────────────────────────────────────────────

// L filters from k on, of channel c.
template <int KERNEL>
static void prepare_filters(const Winograd& o, const float* weights, float* packed, int64_t k, int64_t c) {
  const int64_t end = (k / WINOGRAD_PANEL + 1) * WINOGRAD_PANEL;
  const int count = static_cast<int>(o.k - k < L ? o.k - k : L);
  winograd_filter<KERNEL, V>(
      [&](int i, int j) {
        V value{};
        for (int l = 0; l < count; ++l) value[l] = weights[((k + l) * o.c + c) * KERNEL * KERNEL + i * KERNEL + j];
        return value;
      },
      [&](int i, int j, V value) {
        float* to = packed + place_of_filter(o, i * WINOGRAD_TILE + j, k, c);
        if (count == L && k + L <= end) *reinterpret_cast<VU*>(to) = value;
        else
          for (int l = 0; l < count && k + l < end; ++l) to[l] = value[l];
      });
}

static void prepare(const Program&, const Winograd& o, const float* parameters, float* packed) {
  const auto filters = o.r == 3 ? prepare_filters<3> : prepare_filters<5>;
  for (int64_t panel = 0; panel < o.k; panel += WINOGRAD_PANEL)
    for (int64_t c = 0; c < o.c; ++c)
      for (int64_t k = panel; k < o.k && k < panel + WINOGRAD_PANEL; k += L) filters(o, parameters + o.weight, packed, k, c);
}

// ── forward ──────────────────────────────────────────────────────────────────────────────────────

static void transform_inputs(const At& at, const Winograd& o, const Tiles& of) {
  V* a = arena(at);
  const int64_t pitch = o.c * of.count() + WINOGRAD_GAP;
  for (int64_t c = begin_of(at.share, o.c), end = end_of(at.share, o.c); c < end; ++c)
    for (int64_t t = 0; t < of.count(); ++t) {
      V* v = a + o.points + c * of.count() + t;
      with_inputs(o, a + o.x + c * o.h * o.w, of.row(of.begin + t) - o.top, of.column(of.begin + t) - o.left, [&](auto load) {
        winograd_input<V>(load, [=](int i, int j, V value) { v[(i * WINOGRAD_TILE + j) * pitch] = value; });
      });
    }
}

// What a tile's outputs become: biased, through the ReLU, and the largest of each 2×2.
template <int OUTPUTS>
static void finish_outputs(const At& at, const Winograd& o, const V* m, int64_t k, int64_t row, int64_t column, int64_t step) {
  V y[OUTPUTS][OUTPUTS];
  const V bias = splat(o.bias >= 0 ? at.run.call.parameters[o.bias + k] : 0.0f);
  winograd_output<OUTPUTS, V>([=](int i, int j) { return m[(i * WINOGRAD_TILE + j) * step]; },
                              [&](int i, int j, V value) {
                                value += bias;
                                y[i][j] = o.relu ? choose(value <= 0.0f, V{}, value) : value;
                              });
  V* a = arena(at);
  if (!o.pooled || o.map >= 0) {
    V* to = a + (o.pooled ? o.map : o.y) + (k * o.p + row) * o.q + column;
    const int64_t rows = o.p - row < OUTPUTS ? o.p - row : OUTPUTS, columns = o.q - column < OUTPUTS ? o.q - column : OUTPUTS;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) to[i * o.q + j] = y[i][j];
  }
  if (!o.pooled) return;
  const int64_t top = row / 2, left = column / 2;
  V* to = a + o.y + (k * o.pool_p + top) * o.pool_q + left;
  for (int64_t i = 0; i < OUTPUTS / 2 && top + i < o.pool_p; ++i)
    for (int64_t j = 0; j < OUTPUTS / 2 && left + j < o.pool_q; ++j) to[i * o.pool_q + j] = largest_of_four(&y[2 * i][2 * j], &y[2 * i + 1][2 * j]);
}

// A panel of filters at a time, whose products stay in cache until they are transformed. Shares have rows of their own.
template <int OUTPUTS>
static void make_outputs(const At& at, const Winograd& o, const Tiles& of) {
  V* a = arena(at);
  const int64_t tiles = of.count(), pitch = o.c * tiles + WINOGRAD_GAP, first = begin_of(at.share, o.k, WINOGRAD_UNIT), last = end_of(at.share, o.k, WINOGRAD_UNIT);
  V* m = a + o.products + first * WINOGRAD_POINTS * o.tiles;
  const Product of_filters{1, WINOGRAD_PANEL, 0, o.c, o.c, tiles, WINOGRAD_POINTS * tiles};
  for (int64_t k = first, end; k < last; k = end) {
    end = (k / WINOGRAD_PANEL + 1) * WINOGRAD_PANEL;
    end = end < last ? end : last;
    for (int64_t point = 0; point < WINOGRAD_POINTS; ++point)
      product(of_filters, at.run.packed + place_of_filter(o, point, k, 0), a + o.points + point * pitch, m + point * tiles, end - k, tiles);
    for (int64_t i = k; i < end; ++i)
      for (int64_t t = 0; t < tiles; ++t)
        finish_outputs<OUTPUTS>(at, o, m + (i - k) * WINOGRAD_POINTS * tiles + t, i, of.row(of.begin + t), of.column(of.begin + t), tiles);
  }
}

// Of each block, one stage transforms the inputs, channels in shares, and the next one makes outputs, filters in shares.
static Stages forward_stages(const Winograd& o, int) { return {0, static_cast<int>(2 * blocks_of(o, o.tiles))}; }

static void forward(const At& at, const Winograd& o) {
  const Tiles of = block_of(o, at.stage / 2, o.tiles);
  if (at.stage % 2 == 0) return transform_inputs(at, o, of);
  if (o.r == 3) make_outputs<winograd_outputs(3)>(at, o, of);
  else make_outputs<winograd_outputs(5)>(at, o, of);
}

// ── backward ─────────────────────────────────────────────────────────────────────────────────────

// Vectors from a tile's image to the next one: an odd number of them.
static int64_t turned_row(int64_t c) { return up_by(c, L) | 1; }

// Bᵀ x B, channels in the lanes: L channels at a time, lanes beyond the last one 0.
static void turn_inputs(const At& at, const Winograd& o, const Tiles& of) {
  V* a = arena(at);
  const int64_t row = turned_row(o.c), pitch = of.count() * L * row + WINOGRAD_GAP;
  for (int64_t c = begin_of(at.share, o.c, L), end = end_of(at.share, o.c, L); c < end; c += L)
    for (int64_t t = 0; t < of.count(); ++t) {
      V v[WINOGRAD_POINTS][L];
      for (int l = 0; l < L; ++l) {
        if (c + l >= end) {
          for (int point = 0; point < WINOGRAD_POINTS; ++point) v[point][l] = V{};
          continue;
        }
        with_inputs(o, a + o.x + (c + l) * o.h * o.w, of.row(of.begin + t) - o.top, of.column(of.begin + t) - o.left, [&](auto load) {
          winograd_input<V>(load, [&](int i, int j, V value) { v[i * WINOGRAD_TILE + j][l] = value; });
        });
      }
      V* to = a + o.turned + t * L * row + c / L;
      for (int point = 0; point < WINOGRAD_POINTS; ++point, to += pitch) {
        turn_over_step<L / 2>(v[point]);
#pragma GCC unroll 16
        for (int l = 0; l < L; ++l) to[l * row] = v[point][l];
      }
    }
}

// A dy Aᵀ.
template <int OUTPUTS>
static void transform_upstream(const At& at, const Winograd& o, const Tiles& of) {
  V* a = arena(at);
  const V* upstream = a + (o.pooled ? o.d_map : o.dy);
  const int64_t pitch = o.k * of.count() + WINOGRAD_GAP;
  for (int64_t k = begin_of(at.share, o.k), end = end_of(at.share, o.k); k < end; ++k)
    for (int64_t t = 0; t < of.count(); ++t) {
      const int64_t row = of.row(of.begin + t), column = of.column(of.begin + t);
      const V* dy = upstream + (k * o.p + row) * o.q + column;
      V* d = a + o.upstream + k * of.count() + t;
      const auto store = [=](int i, int j, V value) { d[(i * WINOGRAD_TILE + j) * pitch] = value; };
      if (row + OUTPUTS <= o.p && column + OUTPUTS <= o.q)
        winograd_output_back<OUTPUTS, V>([=, q = o.q](int i, int j) { return dy[i * q + j]; }, store);
      else
        winograd_output_back<OUTPUTS, V>([&](int i, int j) { return row + i < o.p && column + j < o.q ? dy[i * o.q + j] : V{}; }, store);
    }
}

// dw of one filter and L channels from c on, from the products at their points.
template <int KERNEL>
static void add_weights(const Winograd& o, const V* m, float* dw, int64_t c) {
  constexpr int TAPS = KERNEL * KERNEL;
  float taps[TAPS][L] __attribute__((aligned(sizeof(V))));
  winograd_filter_back<KERNEL, V>([=](int i, int j) { return m[(i * WINOGRAD_TILE + j) * WINOGRAD_CHANNELS]; },
                                  [&](int i, int j, V value) { *reinterpret_cast<V*>(taps[i * KERNEL + j]) = value; });
  const int count = static_cast<int>(o.c - c < L ? o.c - c : L);
  for (int l = 0; l < count; ++l)
    for (int i = 0; i < TAPS; ++i) dw[(c + l) * TAPS + i] += taps[i][l];
}

template <int KERNEL>
static void make_weights(const At& at, const Winograd& o, const Tiles& of) {
  V* a = arena(at);
  const int64_t tiles = of.count(), row = turned_row(o.c), turned = tiles * L * row + WINOGRAD_GAP, pitch = o.k * tiles + WINOGRAD_GAP;
  const int64_t first = begin_of(at.share, o.k, WINOGRAD_UNIT), last = end_of(at.share, o.k, WINOGRAD_UNIT), vectors = up_by(o.c, L);
  V* m = a + o.d_filters + first * WINOGRAD_POINTS * WINOGRAD_CHANNELS;
  const Product of_images{tiles * L, 1, 0, tiles * L, tiles * L, row, WINOGRAD_POINTS * WINOGRAD_CHANNELS};
  for (int64_t c = 0; c < vectors; c += WINOGRAD_CHANNELS) {
    const int64_t channels = vectors - c < WINOGRAD_CHANNELS ? vectors - c : WINOGRAD_CHANNELS;
    for (int64_t k = first; k < last; k += WINOGRAD_PANEL) {
      const int64_t filters = last - k < WINOGRAD_PANEL ? last - k : WINOGRAD_PANEL;
      for (int64_t point = 0; point < WINOGRAD_POINTS; ++point)
        product(of_images, reinterpret_cast<const float*>(a + o.upstream + point * pitch + k * tiles), a + o.turned + point * turned + c,
                m + point * WINOGRAD_CHANNELS, filters, channels);
      for (int64_t i = 0; i < filters; ++i)
        for (int64_t j = 0; j < channels; ++j)
          add_weights<KERNEL>(o, m + i * WINOGRAD_POINTS * WINOGRAD_CHANNELS + j, at.slot + o.weight + (k + i) * o.c * KERNEL * KERNEL, (c + j) * L);
    }
  }
}

// What a tile of dx adds to channel c, where it lies on the image.
static void add_inputs(const Winograd& o, const V* m, V* dx, int64_t row, int64_t column, int64_t step) {
  const auto load = [=](int i, int j) { return m[(i * WINOGRAD_TILE + j) * step]; };
  V* first = dx + row * o.w + column;
  const int64_t w = o.w;
  if (row >= 0 && column >= 0 && row + WINOGRAD_TILE <= o.h && column + WINOGRAD_TILE <= o.w)
    return winograd_input_back<V>(load, [=](int i, int j, V value) { first[i * w + j] += value; });
  winograd_input_back<V>(load, [&](int i, int j, V value) {
    if (row + i >= 0 && row + i < o.h && column + j >= 0 && column + j < o.w) first[i * w + j] += value;
  });
}

static void make_dx(const At& at, const Winograd& o, const Tiles& of, bool clear) {
  V* a = arena(at);
  const int64_t tiles = of.count(), pitch = o.k * tiles + WINOGRAD_GAP, first = begin_of(at.share, o.c, WINOGRAD_UNIT), last = end_of(at.share, o.c, WINOGRAD_UNIT);
  V* m = a + o.d_products + first * WINOGRAD_POINTS * o.back_tiles;
  if (clear) memset(a + o.dx + first * o.h * o.w, 0, (last - first) * o.h * o.w * sizeof(V));
  const Product of_channels{WINOGRAD_PANEL, 1, o.c * WINOGRAD_PANEL, WINOGRAD_PANEL, o.k, tiles, WINOGRAD_POINTS * tiles};
  for (int64_t c = first; c < last; c += WINOGRAD_PANEL) {
    const int64_t channels = last - c < WINOGRAD_PANEL ? last - c : WINOGRAD_PANEL;
    for (int64_t point = 0; point < WINOGRAD_POINTS; ++point)
      product(of_channels, at.run.packed + place_of_filter(o, point, 0, c), a + o.upstream + point * pitch, m + point * tiles, channels, tiles);
    for (int64_t i = 0; i < channels; ++i)
      for (int64_t t = 0; t < tiles; ++t)
        add_inputs(o, m + i * WINOGRAD_POINTS * tiles + t, a + o.dx + (c + i) * o.h * o.w, of.row(of.begin + t) - o.top, of.column(of.begin + t) - o.left, tiles);
  }
}

// Stage 0 goes back through the pool, 1 through the ReLU; then of each block one stage transforms x, channels in shares, and dy,
// filters in shares, and the next one makes dw of a share's filters and dx of its channels.
static Stages backward_stages(const Winograd& o) { return {o.pooled ? 0 : 1, static_cast<int>(2 + 2 * blocks_of(o, o.back_tiles))}; }

template <int KERNEL>
static void winograd_back(const At& at, const Winograd& o) {
  const int64_t block = at.stage / 2 - 1;
  const Tiles of = block_of(o, block, o.back_tiles);
  if (at.stage % 2 == 0) {
    turn_inputs(at, o, of);
    transform_upstream<winograd_outputs(KERNEL)>(at, o, of);
    return;
  }
  make_weights<KERNEL>(at, o, of);
  if (o.dx >= 0) make_dx(at, o, of, block == 0 && !o.accumulate);
}

static void backward(const At& at, const Winograd& o) {
  if (at.stage == 0) return pool_of_map_back(at, o);
  if (at.stage == 1) relu_of_map_back(at, o);
  else o.r == 3 ? winograd_back<3>(at, o) : winograd_back<5>(at, o);
}

}  // namespace striate::STRIATE_ISA
