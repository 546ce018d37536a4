// Single images beside lanes of images: the way between the two, and the convolution of a micro-batch that holds so few
// images that most lanes would be empty. There an image is laid out by itself, (rows, columns, channels), and the output's
// channels lie in the lanes.
//
// Register budget: PIXELS·FILTERS accumulators, at most 24 of 512 bits (10 where there are 16 registers), and a vector of
// weights for each of FILTERS.
#pragma once
#include "lanes/op.h"
#include "lanes/pool.h"

namespace striate::STRIATE_ISA {

constexpr int FEW_FILTERS = 2, FEW_PIXELS = L >= 16 ? 12 : 5;

// (C, H, W) vectors → an image of its own for each lane: rows of `width` floats, `image` floats apart. col says for each
// float of a row where it lies in (C, W), or -1 for zero; row which row of H (null: its own). Rows begin … end.
static void to_images(const V* x, float* out, int64_t W, int64_t width, int64_t image, const int32_t* row,
                      const int32_t* col, int64_t begin, int64_t end, int images) {
  for (int64_t i = begin; i < end; ++i)
    for (int64_t j = 0; j < width; j += L) {
      V values[L];
#pragma GCC unroll 16
      for (int t = 0; t < L; ++t) values[t] = row[i] < 0 || col[j + t] < 0 ? V{} : x[row[i] * W + col[j + t]];
      turn_over_step<L / 2>(values);
#pragma GCC unroll 16
      for (int l = 0; l < L; ++l)
        if (l < images) *reinterpret_cast<VU*>(out + l * image + i * width + j) = values[l];
    }
}

// Its transpose: floats of images go to their lanes. Lanes without an image get 0, as gradients must; values are to `repeat`
// the last image, so that they are finite wherever the batch is.
static void from_images(const float* from, V* to_lanes, int64_t W, int64_t width, int64_t image, const int32_t* row,
                        const int32_t* col, int64_t begin, int64_t end, bool add, bool repeat, int images) {
  for (int64_t i = begin; i < end; ++i)
    for (int64_t j = 0, h = row ? row[i] : i; h >= 0 && j < width; j += L) {
      V values[L];
#pragma GCC unroll 16
      for (int l = 0; l < L; ++l) {
        const int64_t of = l < images ? l : images - 1;
        values[l] = l < images || repeat ? V(*reinterpret_cast<const VU*>(from + of * image + i * width + j)) : V{};
      }
      turn_over_step<L / 2>(values);
#pragma GCC unroll 16
      for (int t = 0; t < L; ++t)
        if (col[j + t] >= 0) {
          V& to = to_lanes[h * W + col[j + t]];
          to = add ? to + values[t] : values[t];
        }
    }
}

struct FewWindow {
  const float* x;                 // one image
  float* y;                       // (P, Q, lanes) of floats, rows `y_width` apart
  int64_t Q, y_width, lanes;      // lanes: output channels, rounded up to RUN
  int64_t row, down, across;      // floats from row to row of x, from window to window
  int64_t R, run;                 // filter rows, floats of each
  const float *w, *bias;          // (R, run, lanes); (lanes)
  bool relu;
};

template <int PIXELS, int FILTERS>
static void few_tile(const FewWindow& o, int64_t p, int64_t q, int64_t k) {
  V acc[PIXELS][FILTERS];
#pragma GCC unroll 12
  for (int j = 0; j < PIXELS; ++j)
#pragma GCC unroll 2
    for (int i = 0; i < FILTERS; ++i) acc[j][i] = *reinterpret_cast<const VU*>(o.bias + k + i * L);
  const float* w = o.w + k;
  for (int64_t r = 0; r < o.R; ++r) {
    const float* x = o.x + p * o.down + q * o.across + r * o.row;
    for (int64_t t = 0; t < o.run; ++t, ++x, w += o.lanes) {
      V weight[FILTERS];
#pragma GCC unroll 2
      for (int i = 0; i < FILTERS; ++i) weight[i] = *reinterpret_cast<const VU*>(w + i * L);
#pragma GCC unroll 12
      for (int j = 0; j < PIXELS; ++j)
#pragma GCC unroll 2
        for (int i = 0; i < FILTERS; ++i) acc[j][i] += x[j * o.across] * weight[i];
    }
  }
  float* y = o.y + p * o.y_width + q * o.lanes + k;
#pragma GCC unroll 12
  for (int j = 0; j < PIXELS; ++j)
#pragma GCC unroll 2
    for (int i = 0; i < FILTERS; ++i) {
      const V value = acc[j][i];
      *reinterpret_cast<VU*>(y + j * o.lanes + i * L) = o.relu ? choose(value <= 0.0f, V{}, value) : value;
    }
}

using FewTile = void (*)(const FewWindow&, int64_t, int64_t, int64_t);
template <int FILTERS, int PIXELS>
static FewTile few_tile_of(int64_t pixels) {
  if constexpr (PIXELS == 1) return few_tile<1, FILTERS>;
  else return pixels == PIXELS ? few_tile<PIXELS, FILTERS> : few_tile_of<FILTERS, PIXELS - 1>(pixels);
}

static void few_convolve(const FewWindow& o, int64_t top, int64_t bottom) {
  const int64_t tiles = (o.Q + FEW_PIXELS - 1) / FEW_PIXELS;
  for (int64_t k = 0; k < o.lanes; k += FEW_FILTERS * L) {
    const bool pair = k + FEW_FILTERS * L <= o.lanes;
    for (int64_t p = top; p < bottom; ++p)
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t q = tile * o.Q / tiles, pixels = (tile + 1) * o.Q / tiles - q;
        (pair ? few_tile_of<FEW_FILTERS, FEW_PIXELS>(pixels) : few_tile_of<1, FEW_PIXELS>(pixels))(o, p, q, k);
      }
  }
}

// ── the op ───────────────────────────────────────────────────────────────────────────────────────

// Whether a micro-batch holds so few images that they are better convolved one by one, output channels in the lanes.
static bool few(const Conv& o, int images) { return o.few_index >= 0 && 5 * images * o.few_lanes < 4 * L * o.k; }

// Weights (filter row, float of its run, output channel), and the biases after them.
static void prepare_few(const Program& program, const Conv& o, const float* parameters, float* packed) {
  const int32_t* index = program.table + o.few_index;
  for (int64_t j = 0; j < (o.r * o.few_run + 1) * o.few_lanes; ++j)
    packed[o.few_packed + j] = index[j] < 0 ? 0.0f : parameters[index[j]];
}

static Stages few_stages(const Conv& o) { return {0, o.pooled ? 4 : 3}; }

// Stage 0 lays x out image by image, 1 convolves, 2 turns y into lanes, 3 is the pool after it.
static void few_forward(const At& at, const Conv& o) {
  const int32_t* table = at.run.program.table;
  const Share share = at.share;
  V* a = arena(at);
  const int64_t width = o.image_width, image = o.image_rows * width + RUN, lanes = o.few_lanes;
  const int64_t y_width = (o.q * lanes + RUN - 1) / RUN * RUN, y_image = o.p * y_width;
  auto *x = reinterpret_cast<float*>(a + o.few_x), *y = reinterpret_cast<float*>(a + o.few_y);
  if (at.stage == 0)
    return to_images(a + o.x, x, o.w, width, image, table + o.image_row_map, table + o.image_col_map,
                     begin_of(share, o.image_rows), end_of(share, o.image_rows), at.images);
  if (at.stage == 2)
    return from_images(y, a + (o.pooled ? o.map : o.y), o.q, y_width, y_image, nullptr, table + o.few_col_map,
                       begin_of(share, o.p), end_of(share, o.p), false, true, at.images);
  if (at.stage == 3) return pool_of_map(at, o);
  const float* w = at.run.packed + o.few_packed;
  for (int l = 0; l < at.images; ++l)
    few_convolve({x + l * image, y + l * y_image, o.q, y_width, lanes, width, o.stride_h * width,
                  o.stride_w * o.image_pitch, o.r, o.few_run, w, w + o.r * o.few_run * lanes, o.relu != 0},
                 begin_of(share, o.p), end_of(share, o.p));
}

}  // namespace striate::STRIATE_ISA
