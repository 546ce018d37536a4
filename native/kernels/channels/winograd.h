// A convolution over channels by Winograd's F(4,3) or F(2,5) (../winograd.h): tiles to their points, at each point a product of tiles and
// filters, points to outputs; with the bias, the sum, the ReLU and the 2×2 pool that are fused with it.
//
// A thread takes a block of tiles that stays in its cache through all of it; or, where filters are many and tiles few (`staged`), all tiles
// are turned first, and threads take filters.
#pragma once
#include "../winograd.h"
#include "conv.h"

namespace striate::STRIATE_ISA {

constexpr int64_t FILTER_GROUP = GROUP_VECTORS * L;  // filters whose products are kept at once
static_assert(FILTER_GROUP % FILTER_PANEL == 0);

// Weights as they are read: (panel, point, channel, filter); after them the biases, in whole vectors.
template <int KERNEL>
static void prepare_points(const ChannelWinograd& o, const float* weight, float* to) {
  for (int64_t k = 0; k < up_to_lanes(o.k); k += FILTER_PANEL) {
    const int64_t width = up_to_lanes(o.k) - k < FILTER_PANEL ? up_to_lanes(o.k) - k : FILTER_PANEL;
    for (int64_t c = 0; c < o.c; ++c)
      for (int64_t i = 0; i < width; i += L)
        winograd_filter<KERNEL, V>(
            [&](int r, int s) {
              V value{};
              for (int l = 0; l < L; ++l)
                if (k + i + l < o.k) value[l] = weight[(((k + i + l) * o.c + c) * KERNEL + r) * KERNEL + s];
              return value;
            },
            [&](int r, int s, V value) { store(to + ((r * WINOGRAD_TILE + s) * o.c + c) * width + i, value); });
    to += WINOGRAD_POINTS * o.c * width;
  }
}

static void prepare(const Program&, const ChannelWinograd& o, const float* parameters, float* packed) {
  float* to = packed + o.packed;
  if (o.kernel == 3) prepare_points<3>(o, parameters + o.weight, to);
  else prepare_points<5>(o, parameters + o.weight, to);
  to += WINOGRAD_POINTS * o.c * up_to_lanes(o.k);
  pack_biases(parameters, o.bias, o.k, to);
}

// Where tiles lie, and their points and products: (point, tile, channel or filter).
struct ImageTiles {
  int64_t across, count, outputs;
  int64_t v_tile, v_point, m_tile, m_point;
};

static ImageTiles image_tiles(const ChannelWinograd& o) {
  const int64_t outputs = winograd_outputs(static_cast<int>(o.kernel)), across = (o.q + outputs - 1) / outputs;
  const int64_t count = across * ((o.p + outputs - 1) / outputs), v_tile = up_to_lanes(o.c) + TILE_GAP, m_tile = FILTER_GROUP + TILE_GAP;
  return {across, count, outputs, v_tile, o.block * v_tile + TILE_GAP, m_tile, o.block * m_tile + TILE_GAP};
}

static void tiles_in(const At& at, const ChannelWinograd& o, const ImageTiles& tiles, int64_t begin, int64_t end, float* v) {
  const float* x = floats(at, o.x) + o.x_first;
  for (int64_t t = begin; t < end; ++t, v += tiles.v_tile) {
    const int64_t top = t / tiles.across * tiles.outputs - o.before_h, left = t % tiles.across * tiles.outputs - o.before_w;
    const float* from = x + top * o.x_row + left * o.x_pitch;
    const bool inside = top >= 0 && left >= 0 && top + WINOGRAD_TILE <= o.h && left + WINOGRAD_TILE <= o.w;
    for (int64_t c = 0; c < o.c; c += L) {
      const auto put_point = [&](int i, int j, V value) { store(v + (i * WINOGRAD_TILE + j) * tiles.v_point + c, value); };
      if (inside)
        winograd_input<V>([&](int i, int j) { return load(from + i * o.x_row + j * o.x_pitch + c); }, put_point);
      else
        winograd_input<V>(
            [&](int i, int j) {
              const int64_t row = top + i, column = left + j;
              return row >= 0 && row < o.h && column >= 0 && column < o.w ? load(from + i * o.x_row + j * o.x_pitch + c) : V{};
            },
            put_point);
    }
  }
}

template <int PIXELS, int FILTERS>
static void points_tile(const Reads& reads, const float* v, const float* u, float* m, int64_t m_tile) {
  V acc[PIXELS][FILTERS]{};
  multiply(acc, reads, v, u);
#pragma GCC unroll 12
  for (int j = 0; j < PIXELS; ++j)
#pragma GCC unroll 2
    for (int i = 0; i < FILTERS; ++i) store(m + j * m_tile + i * L, acc[j][i]);
}

// Products of `count` tiles and a group's filters.
static void tiles_through(const At& at, const ChannelWinograd& o, const ImageTiles& tiles, int64_t count, int64_t group, const float* v, float* m) {
  const Reads reads{tiles.v_tile, 1, 0, 1, 0, o.c};
  const int64_t wide = up_to_lanes(o.k), end = group + FILTER_GROUP < wide ? group + FILTER_GROUP : wide;
  const int64_t chunks = (count + PRODUCT_PIXELS - 1) / PRODUCT_PIXELS;
  const float* u = at.run.packed + o.packed;
  for (int64_t point = 0; point < WINOGRAD_POINTS; ++point)
    for (int64_t k = group; k < end; k += FILTER_PANEL) {
      const bool whole = k + FILTER_PANEL <= wide;
      const float* w = u + (k * WINOGRAD_POINTS + point * (whole ? FILTER_PANEL : L)) * o.c;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const int64_t t = chunk * count / chunks, pixels = (chunk + 1) * count / chunks - t;
        const float* from = v + point * tiles.v_point + t * tiles.v_tile;
        float* to = m + point * tiles.m_point + t * tiles.m_tile + k - group;
        with_pixels<PRODUCT_PIXELS>(pixels, [&]<int PIXELS>() {
          if (whole) points_tile<PIXELS, 2>(reads, from, w, to, tiles.m_tile);
          else points_tile<PIXELS, 1>(reads, from, w, to, tiles.m_tile);
        });
      }
    }
}

template <int OUTPUTS>
static void tiles_out(const At& at, const ChannelWinograd& o, const ImageTiles& tiles, int64_t begin, int64_t end, int64_t group, const float* m) {
  const int64_t wide = up_to_lanes(o.k), last = group + FILTER_GROUP < wide ? group + FILTER_GROUP : wide;
  const float* bias = at.run.packed + o.packed + WINOGRAD_POINTS * o.c * wide;
  const float* second = o.second >= 0 ? floats(at, o.second) + o.second_first : nullptr;
  float* y = floats(at, o.y) + o.y_first;
  const Ramp ramp{o.relu != 0, static_cast<float>(o.most)};
  for (int64_t t = begin; t < end; ++t, m += tiles.m_tile) {
    const int64_t top = t / tiles.across * OUTPUTS, left = t % tiles.across * OUTPUTS;
    const int rows = static_cast<int>(o.p - top < OUTPUTS ? o.p - top : OUTPUTS), columns = static_cast<int>(o.q - left < OUTPUTS ? o.q - left : OUTPUTS);
    for (int64_t k = group; k < last; k += L) {
      const V start = load(bias + k);
      V out[OUTPUTS][OUTPUTS];
      winograd_output<OUTPUTS, V>([&](int i, int j) { return load(m + (i * WINOGRAD_TILE + j) * tiles.m_point + k - group); },
                                  [&](int i, int j, V value) { out[i][j] = value + start; });
      if (second)
        for (int i = 0; i < rows; ++i)
          for (int j = 0; j < columns; ++j) out[i][j] += load(second + (top + i) * o.second_row + (left + j) * o.second_pitch + k);
      if (o.pooled) {
        for (int i = 0; i + 1 < rows; i += 2)
          for (int j = 0; j + 1 < columns; j += 2) {
            const V pairs[] = {out[i][j], out[i][j + 1], out[i + 1][j], out[i + 1][j + 1]};
            store(y + (top + i) / 2 * o.y_row + (left + j) / 2 * o.y_pitch + k, ramp(largest_of_four(pairs, pairs + 2)));
          }
      } else if (rows == OUTPUTS && columns == OUTPUTS) {
#pragma GCC unroll 4
        for (int i = 0; i < OUTPUTS; ++i)
#pragma GCC unroll 4
          for (int j = 0; j < OUTPUTS; ++j) store(y + (top + i) * o.y_row + (left + j) * o.y_pitch + k, ramp(out[i][j]));
      } else {
        for (int i = 0; i < rows; ++i)
          for (int j = 0; j < columns; ++j) store(y + (top + i) * o.y_row + (left + j) * o.y_pitch + k, ramp(out[i][j]));
      }
    }
  }
}

// Products and outputs of `count` tiles from `first` on, of the groups begin … end.
static void tiles_and_groups(const At& at, const ChannelWinograd& o, const ImageTiles& tiles, int64_t first, int64_t count, int64_t begin, int64_t end,
                             const float* v, float* m) {
  for (int64_t group = begin; group < end; ++group) {
    tiles_through(at, o, tiles, count, group * FILTER_GROUP, v, m);
    if (o.kernel == 3) tiles_out<4>(at, o, tiles, first, first + count, group * FILTER_GROUP, m);
    else tiles_out<2>(at, o, tiles, first, first + count, group * FILTER_GROUP, m);
  }
}

static Stages forward_stages(const ChannelWinograd& o, int) { return {0, o.staged ? 2 : 1}; }

static void forward(const At& at, const ChannelWinograd& o) {
  const ImageTiles tiles = image_tiles(o);
  const Share share = at.share;
  const int64_t groups = (up_to_lanes(o.k) + FILTER_GROUP - 1) / FILTER_GROUP;
  if (at.stage == 0)
    clear_frame(share, floats(at, o.y) + o.y_first, o.pooled ? o.p / 2 : o.p, o.pooled ? o.q / 2 : o.q, up_to_lanes(o.k), o.y_pitch, o.y_row, o.border);
  if (o.staged) {
    float* v = floats(at, o.points);
    const int64_t begin = begin_of(share, tiles.count);
    if (at.stage == 0) return tiles_in(at, o, tiles, begin, end_of(share, tiles.count), v + begin * tiles.v_tile);
    return tiles_and_groups(at, o, tiles, 0, tiles.count, begin_of(share, groups), end_of(share, groups), v, at.scratch);
  }
  float *v = at.scratch, *m = v + WINOGRAD_POINTS * tiles.v_point;
  const int64_t blocks = (tiles.count + o.block - 1) / o.block;
  for (int64_t block = begin_of(share, blocks), last = end_of(share, blocks); block < last; ++block) {
    const int64_t first = block * tiles.count / blocks, count = (block + 1) * tiles.count / blocks - first;
    tiles_in(at, o, tiles, first, first + count, v);
    tiles_and_groups(at, o, tiles, first, count, 0, groups, v, m);
  }
}

}  // namespace striate::STRIATE_ISA
