// The dense kernels of a convolution over lanes: forward (and dx, which is another one), dw, and the copies that lay an image out
// as windows read it, and back. What calls them is conv.h.
//
// Register budget: a tile holds KT·QT ≤ 24 accumulators of 512 bits, or ≤ 12 where there are 16 registers (KT_MOST and
// QT_MOST say so); operands come straight from memory or by broadcast.
#pragma once
#include "../../run.h"
#include "../simd.h"

namespace striate::STRIATE_ISA {

constexpr int64_t CACHE_BYTES = 1 << 20;  // what a core keeps close; half of a usual second-level cache
constexpr int KT_MOST = FILTERS_A_TILE, QT_MOST = L >= 16 ? 6 : 3, ST_MOST = L >= 16 ? 6 : 3;

struct Window {               // one convolution over an expanded image, group by group
  const V* x;                 // (C, HE, WE)
  V* y;                       // (K, P, Q)
  int64_t K, P, Q, WE;        // K of one group
  int64_t input_bytes;        // of x
  int64_t stride_h, stride_w, taps;
  int64_t R, S;               // rows and columns of the filter; taps = channels·R·S
  const int32_t* row_map;     // for each row of x, whether it is anything but zeros (not -1); or null
  const int32_t* offset;      // taps: where each tap of a window lies from the window's first
  const float* w;             // packed: blocks of up to KT_MOST filters, taps within, filters innermost
  const float* bias;          // or null
  bool relu, accumulate;
  bool pooled = false;        // y is (K, P/2, Q/2): the largest of each 2×2 outputs, of which no other trace is left
  int64_t k0 = 0, p0 = 0;     // the filter and row of outputs that y begins with
};

// The taps that count for one row of outputs: runs of them in each channel's, which lie `every` apart. Filter rows that read
// nothing but zeros for the whole row are left out: those in padding, and those in the gaps of a stride.
struct Taps {
  int64_t every, runs;
  struct {
    int64_t first, count;
  } run[8];
};

static Taps taps_of(const Window& o, int64_t p) {
  Taps found{o.R * o.S, 1, {{0, o.R * o.S}}};
  if (!o.row_map || o.R > 15) return found;
  found.runs = 0;
  bool open = false;
  for (int64_t r = 0; r < o.R; ++r) {
    const bool counts = o.row_map[p * o.stride_h + o.offset[r * o.S] / o.WE] >= 0;
    if (counts && !open) found.run[found.runs++] = {r * o.S, 0};
    if (counts) found.run[found.runs - 1].count += o.S;
    open = counts;
  }
  return found;
}

// RUNS: the most runs of taps in a channel; 1 nearly always, and then worth a loop less.
template <int KT, int QT, int RUNS>
static void conv_tile(const Window& o, int64_t k, int64_t p, int64_t q, const Taps& taps) {
  V acc[KT][QT];
#pragma GCC unroll 8
  for (int i = 0; i < KT; ++i) {
    const V start = splat(o.bias ? o.bias[k + i] : 0.0f);
#pragma GCC unroll 8
    for (int j = 0; j < QT; ++j) acc[i][j] = start;
  }
  const V* x = o.x + p * o.stride_h * o.WE + q * o.stride_w;
  const int64_t sw = o.stride_w;
  for (int64_t channel = 0; channel < o.taps; channel += taps.every)
    for (int64_t run = 0; run < (RUNS == 1 ? 1 : taps.runs); ++run) {
      const int64_t first = channel + taps.run[run].first, end = first + taps.run[run].count;
      const float* w = o.w + k * o.taps + first * KT;
      for (int64_t t = first; t < end; ++t, w += KT) {
        const V* at = x + o.offset[t];
        if constexpr (L < 16 && KT > QT) {  // of 16 registers the shorter side stays in some, the longer comes one by one
          V pixel[QT];
#pragma GCC unroll 8
          for (int j = 0; j < QT; ++j, at += sw) pixel[j] = in_register(*at);
#pragma GCC unroll 8
          for (int i = 0; i < KT; ++i) {
            const V weight = in_register(splat(w[i]));
#pragma GCC unroll 8
            for (int j = 0; j < QT; ++j) acc[i][j] += weight * pixel[j];
          }
        } else {
#pragma GCC unroll 8
          for (int j = 0; j < QT; ++j, at += sw) {
            const V pixel = *at;
#pragma GCC unroll 8
            for (int i = 0; i < KT; ++i) acc[i][j] += w[i] * pixel;
          }
        }
      }
    }
#pragma GCC unroll 8
  for (int i = 0; i < KT; ++i) {
    V* y = o.y + ((k + i - o.k0) * o.P + p - o.p0) * o.Q + q;
#pragma GCC unroll 8
    for (int j = 0; j < QT; ++j) {
      V value = acc[i][j];
      if (o.relu) value = choose(value <= 0.0f, V{}, value);
      y[j] = o.accumulate ? y[j] + value : value;
    }
  }
}

using ConvTile = void (*)(const Window&, int64_t, int64_t, int64_t, const Taps&);
template <int KT, int RUNS>
static ConvTile conv_tile_of(int64_t qt) {
  switch (qt) {
    case 1: return conv_tile<KT, 1, RUNS>;
    case 2: return conv_tile<KT, 2, RUNS>;
    case 3: return conv_tile<KT, 3, RUNS>;
#if STRIATE_LANES >= 16
    case 4: return conv_tile<KT, 4, RUNS>;
    case 5: return conv_tile<KT, 5, RUNS>;
    default: return conv_tile<KT, 6, RUNS>;
#else
    default: return conv_tile<KT, 3, RUNS>;
#endif
  }
}

template <int RUNS>
static ConvTile conv_tile_for(int64_t kt, int64_t qt) {
  switch (kt) {
    case 1: return conv_tile_of<1, RUNS>(qt);
    case 2: return conv_tile_of<2, RUNS>(qt);
    case 3: return conv_tile_of<3, RUNS>(qt);
    default: return conv_tile_of<4, RUNS>(qt);
  }
}

static void conv_row(const Window& o, int64_t k, int64_t p) {
  const int64_t kt = o.K - k < KT_MOST ? o.K - k : KT_MOST;
  const int64_t tiles = (o.Q + QT_MOST - 1) / QT_MOST;  // of nearly equal width
  const Taps taps = taps_of(o, p);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int64_t q = tile * o.Q / tiles, end = (tile + 1) * o.Q / tiles;
    (taps.runs == 1 ? conv_tile_for<1>(kt, end - q) : conv_tile_for<8>(kt, end - q))(o, k, p, q, taps);
  }
}

// Rows 2p and 2p + 1 of a block of filters, of which only the largest of each 2×2 is kept. No row is wider than POOLED_WIDTH:
// these two stay in the first cache.
static void conv_pooled_row(const Window& o, int64_t k, int64_t p) {
  V rows[KT_MOST * 2 * POOLED_WIDTH];
  Window pair = o;
  pair.y = rows, pair.P = 2, pair.k0 = k, pair.p0 = 2 * p;
  conv_row(pair, k, 2 * p);
  conv_row(pair, k, 2 * p + 1);
  const int64_t filters = o.K - k < KT_MOST ? o.K - k : KT_MOST, height = o.P / 2, width = o.Q / 2;
  for (int64_t i = 0; i < filters; ++i) {
    const V *top = rows + 2 * i * o.Q, *bottom = top + o.Q;
    V* y = o.y + ((k + i) * height + p) * width;
    for (int64_t q = 0; q < width; ++q, top += 2, bottom += 2) y[q] = largest_of_four(top, bottom);
  }
}

// A small image stays in cache while each block of filters passes over it; of a large one, a few rows stay while all
// filters pass over them. A share is of the output's rows, or of the blocks of filters if they divide more evenly.
static void convolve(const Window& o, Share share) {
  const int64_t blocks = (o.K + KT_MOST - 1) / KT_MOST, rows = o.pooled ? o.P / 2 : o.P;
  const auto make = o.pooled ? conv_pooled_row : conv_row;
  const bool by_rows = largest_of(share, rows) * blocks <= largest_of(share, blocks) * rows;
  const int64_t top = by_rows ? begin_of(share, rows) : 0, bottom = by_rows ? end_of(share, rows) : rows;
  const int64_t first = by_rows ? 0 : begin_of(share, o.K, KT_MOST), last = by_rows ? o.K : end_of(share, o.K, KT_MOST);
  if (o.input_bytes <= CACHE_BYTES / 2) {
    for (int64_t k = first; k < last; k += KT_MOST)
      for (int64_t p = top; p < bottom; ++p) make(o, k, p);
  } else {
    for (int64_t p = top; p < bottom; ++p)
      for (int64_t k = first; k < last; k += KT_MOST) make(o, k, p);
  }
}

// dw of KT filters and ST neighboring taps of a filter row: a sum over windows and lanes.
struct WeightGradient {
  const V *x, *dy;            // x expanded; dy (K, P, Q)
  int64_t P, Q, WE, stride_h, stride_w, step;   // step: distance of neighboring taps
  const int32_t* row_map;     // as in Window
  float* dw;                  // the slot's flat gradients
};

template <int KT, int ST>
static void weight_tile(const WeightGradient& o, const V* x, const V* dy, const int32_t* index, int64_t kt, int64_t from,
                        int64_t to) {
  V acc[KT * ST];
#pragma GCC unroll 32
  for (int i = 0; i < KT * ST; ++i) acc[i] = V{};
  const int64_t map = o.P * o.Q;
  for (int64_t p = from; p < to; ++p) {
    const V* xp = x + p * o.stride_h * o.WE;
    const V* dp = dy + p * o.Q;
    for (int64_t q = 0; q < o.Q; ++q, xp += o.stride_w, ++dp) {
#pragma GCC unroll 8
      for (int i = 0; i < KT; ++i) {
        const V upstream = dp[i * map];
#pragma GCC unroll 8
        for (int j = 0; j < ST; ++j) acc[i * ST + j] += upstream * xp[j * o.step];
      }
    }
  }
  float sums[up_to_lanes(KT * ST)];
  horizontal_sums<KT * ST>(acc, sums);
  for (int i = 0; i < KT; ++i)
    for (int j = 0; j < ST; ++j) o.dw[index[j * kt + i]] += sums[i * ST + j];
}

using WeightTile = void (*)(const WeightGradient&, const V*, const V*, const int32_t*, int64_t, int64_t, int64_t);
template <int KT>
static WeightTile weight_tile_of(int64_t st) {
  switch (st) {
    case 1: return weight_tile<KT, 1>;
    case 2: return weight_tile<KT, 2>;
    case 3: return weight_tile<KT, 3>;
#if STRIATE_LANES >= 16
    case 4: return weight_tile<KT, 4>;
    case 5: return weight_tile<KT, 5>;
    default: return weight_tile<KT, 6>;
#else
    default: return weight_tile<KT, 3>;
#endif
  }
}

// All nine taps of a 3×3 filter without dilation at once, for KT filters: neighbors in both directions share what they load.
template <int KT>
static void weight_square(const WeightGradient& o, const V* x, const V* dy, const int32_t* index, int64_t kt, int64_t row) {
  V acc[KT * 9];
#pragma GCC unroll 32
  for (int i = 0; i < KT * 9; ++i) acc[i] = V{};
  const int64_t map = o.P * o.Q;
  for (int64_t p = 0; p < o.P; ++p) {
    // A pointer a row, and neighbors at constant distances: nine distances in variables would be nine more loads a turn.
    const V *top = x + p * o.stride_h * o.WE, *middle = top + row, *bottom = middle + row, *dp = dy + p * o.Q;
    for (int64_t q = 0; q < o.Q; ++q, top += o.stride_w, middle += o.stride_w, bottom += o.stride_w, ++dp) {
      V upstream[KT];
#pragma GCC unroll 4
      for (int i = 0; i < KT; ++i) upstream[i] = dp[i * map];
#pragma GCC unroll 9
      for (int j = 0; j < 9; ++j) {
        const V* line = j < 3 ? top : j < 6 ? middle : bottom;  // by name: g++ 12 with UBSan misreads (a ? b : c)[j % 3]
        const V pixel = in_register(line[j % 3]);
#pragma GCC unroll 4
        for (int i = 0; i < KT; ++i) acc[i * 9 + j] += upstream[i] * pixel;
      }
    }
  }
  float sums[up_to_lanes(KT * 9)];
  horizontal_sums<KT * 9>(acc, sums);
  for (int i = 0; i < KT; ++i)
    for (int j = 0; j < 9; ++j) o.dw[index[j * kt + i]] += sums[i * 9 + j];
}

// KT_MOST filters from k on, the taps of channels c … c_end.
static void weight_block(const WeightGradient& o, int64_t k, int64_t kt, int64_t taps, int64_t R, int64_t S, int64_t c,
                         int64_t c_end, const int32_t* offset, const int32_t* pack) {
  const V* dy = o.dy + k * o.P * o.Q;
  if (L >= 16 && R == 3 && S == 3 && o.step == 1) {
    for (int64_t t = c * 9; t < c_end * 9; t += 9) {
      const int32_t* index = pack + k * taps + t * kt;
      const int64_t row = offset[3] - offset[0];
      int64_t i = 0;
      for (; i + 2 <= kt; i += 2) weight_square<2>(o, o.x + offset[t], dy + i * o.P * o.Q, index + i, kt, row);
      if (i < kt) weight_square<1>(o, o.x + offset[t], dy + i * o.P * o.Q, index + i, kt, row);
    }
    return;
  }
  for (int64_t row = c * R * S; row < c_end * R * S; row += S) {
    int64_t from = 0, to = o.P;  // output rows for which this filter row is not in zero padding
    if (o.row_map) {
      const int64_t down = offset[row % (R * S)] / o.WE;
      while (from < to && o.row_map[from * o.stride_h + down] < 0) ++from;
      while (from < to && o.row_map[(to - 1) * o.stride_h + down] < 0) --to;
    }
    const int64_t pieces = (S + ST_MOST - 1) / ST_MOST;
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const int64_t s = piece * S / pieces, end = (piece + 1) * S / pieces, t = row + s;
      const WeightTile tile = kt == 1 ? weight_tile_of<1>(end - s) : kt == 2 ? weight_tile_of<2>(end - s)
                            : kt == 3 ? weight_tile_of<3>(end - s) : weight_tile_of<4>(end - s);
      tile(o, o.x + offset[t], dy, pack + k * taps + t * kt, kt, from, to);
    }
  }
}

// K filters of one group over C channels. As many channels as stay in cache at a time, all filters over them.
static void weight_gradient(const WeightGradient& o, int64_t K, int64_t C, int64_t R, int64_t S, int64_t plane,
                            const int32_t* offset, const int32_t* pack, int64_t first, int64_t last) {
  const int64_t fit = CACHE_BYTES / (plane * static_cast<int64_t>(sizeof(V))), block = fit < 1 ? 1 : fit;
  for (int64_t c = 0; c < C; c += block)
    for (int64_t k = first; k < last; k += KT_MOST)
      weight_block(o, k, K - k < KT_MOST ? K - k : KT_MOST, C * R * S, R, S, c, c + block < C ? c + block : C, offset,
                   pack);
}

// Lay planes out as windows read them: position (i, j) copies x[row[i], col[j]], or is 0 where a map says -1.
static void expand(const V* x, V* out, int64_t planes, int64_t H, int64_t W, int64_t HE, int64_t WE,
                   const int32_t* row, const int32_t* col) {
  for (int64_t c = 0; c < planes; ++c, x += H * W, out += HE * WE)
    for (int64_t i = 0; i < HE; ++i) {
      V* line = out + i * WE;
      const V* from = x + row[i] * W;
      if (row[i] < 0) {
        for (int64_t j = 0; j < WE; ++j) line[j] = V{};
      } else {
        for (int64_t j = 0; j < WE; ++j) line[j] = col[j] < 0 ? V{} : from[col[j]];
      }
    }
}

// The transpose of expand: copies send their gradients back.
static void unexpand(const V* dout, V* dx, int64_t planes, int64_t H, int64_t W, int64_t HE, int64_t WE,
                     const int32_t* row, const int32_t* col) {
  for (int64_t c = 0; c < planes; ++c, dx += H * W, dout += HE * WE)
    for (int64_t i = 0; i < HE; ++i)
      if (row[i] >= 0)
        for (int64_t j = 0; j < WE; ++j)
          if (col[j] >= 0) dx[row[i] * W + col[j]] += dout[i * WE + j];
}

}  // namespace striate::STRIATE_ISA
