// Kernels over lanes: every activation element is a vector V of L floats, one image a lane. Included by executor.cpp
// inside the namespace of one instruction set.
//
// Register budget: a convolution tile holds KT·QT ≤ 24 accumulators of 512 bits, or ≤ 12 where there are 16 registers
// (KT_MOST and QT_MOST say so); operands come straight from memory or by broadcast.

constexpr int L = STRIATE_LANES;
typedef float V __attribute__((vector_size(4 * L), aligned(4 * L)));
typedef float VU __attribute__((vector_size(4 * L), aligned(4)));  // the same at any address
typedef int32_t VI __attribute__((vector_size(4 * L), aligned(4 * L)));
constexpr int64_t CACHE_BYTES = 1 << 20;  // what a core keeps close; half of a usual second-level cache
constexpr int KT_MOST = 4, QT_MOST = L >= 16 ? 6 : 3, ST_MOST = L >= 16 ? 6 : 3;

static inline V splat(float value) { return V{} + value; }

static inline V choose(VI mask, V yes, V no) { return mask ? yes : no; }

static inline float horizontal_sum(V v) {
  float part[L];
  __builtin_memcpy(part, &v, sizeof v);
  for (int width = L / 2; width; width /= 2)
    for (int i = 0; i < width; ++i) part[i] += part[i + width];
  return part[0];
}

// Turn L vectors of L floats over: blocks of half the width change places, then quarters, and so on.
template <int HALF>
static inline void turn_over_step(V (&rows)[L]) {
  VI low, high;
  for (int j = 0; j < L; ++j) {
    low[j] = j & HALF ? L + j - HALF : j;
    high[j] = j & HALF ? L + j : j + HALF;
  }
#pragma GCC unroll 16
  for (int i = 0; i < L; ++i)
    if (!(i & HALF)) {
      const V a = rows[i], b = rows[i + HALF];
      rows[i] = __builtin_shuffle(a, b, low);
      rows[i + HALF] = __builtin_shuffle(a, b, high);
    }
  if constexpr (HALF > 1) turn_over_step<HALF / 2>(rows);
}

// (count, L) with rows `from_stride` floats apart → (L, count) with rows `to_stride` apart, count floats each.
static void turn_over(const float* from, int64_t from_stride, float* to, int64_t to_stride, int64_t count) {
  int64_t at = 0;
  for (; at + L <= count; at += L) {
    V rows[L];
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) rows[i] = *reinterpret_cast<const VU*>(from + (at + i) * from_stride);
    turn_over_step<L / 2>(rows);
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) *reinterpret_cast<VU*>(to + i * to_stride + at) = rows[i];
  }
  for (; at < count; ++at)
    for (int l = 0; l < L; ++l) to[l * to_stride + at] = from[at * from_stride + l];
}

// L images of `count` floats → count vectors, one image a lane.
static void gather_lanes(const float* const (&image)[L], V* to, int64_t count) {
  int64_t at = 0;
  for (; at + L <= count; at += L) {
    V rows[L];
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) rows[i] = *reinterpret_cast<const VU*>(image[i] + at);
    turn_over_step<L / 2>(rows);
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) to[at + i] = rows[i];
  }
  for (; at < count; ++at)
    for (int l = 0; l < L; ++l) to[at][l] = image[l][at];
}

// A share of an op: part `index` of `count`. With one micro-batch and several threads every op is cut into shares, with
// a barrier between its stages; otherwise the one share is the whole.
struct Share {
  int64_t index, count;
  // The part of 0 … total that begins and ends at multiples of `unit`.
  int64_t begin(int64_t total, int64_t unit = 1) const {
    const int64_t units = (total + unit - 1) / unit, at = units * index / count * unit;
    return at < total ? at : total;
  }
  int64_t end(int64_t total, int64_t unit = 1) const { return Share{index + 1, count}.begin(total, unit); }
  int64_t largest(int64_t total) const { return (total + count - 1) / count; }
};

// ── convolution ──────────────────────────────────────────────────────────────────────────────────

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
#pragma GCC unroll 8
        for (int j = 0; j < QT; ++j, at += sw) {
          const V pixel = *at;
#pragma GCC unroll 8
          for (int i = 0; i < KT; ++i) acc[i][j] += w[i] * pixel;
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

// Rows 2p and 2p + 1 of a block of filters, of which only the largest of each 2×2 is kept.
constexpr int64_t POOLED_WIDTH = 64;  // plan/lanes.py fuses no wider row: these two stay in the first cache
static inline V largest_of_four(const V* top, const V* bottom) {
  const V first = choose(top[1] <= top[0], top[0], top[1]);
  const V second = choose(bottom[1] <= bottom[0], bottom[0], bottom[1]);
  return choose(second <= first, first, second);
}

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
  const bool by_rows = share.largest(rows) * blocks <= share.largest(blocks) * rows;
  const int64_t top = by_rows ? share.begin(rows) : 0, bottom = by_rows ? share.end(rows) : rows;
  const int64_t first = by_rows ? 0 : share.begin(o.K, KT_MOST), last = by_rows ? o.K : share.end(o.K, KT_MOST);
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
  V acc[KT][ST];
#pragma GCC unroll 8
  for (int i = 0; i < KT; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < ST; ++j) acc[i][j] = V{};
  const int64_t map = o.P * o.Q;
  for (int64_t p = from; p < to; ++p) {
    const V* xp = x + p * o.stride_h * o.WE;
    const V* dp = dy + p * o.Q;
    for (int64_t q = 0; q < o.Q; ++q, xp += o.stride_w, ++dp) {
#pragma GCC unroll 8
      for (int i = 0; i < KT; ++i) {
        const V upstream = dp[i * map];
#pragma GCC unroll 8
        for (int j = 0; j < ST; ++j) acc[i][j] += upstream * xp[j * o.step];
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < KT; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < ST; ++j) o.dw[index[j * kt + i]] += horizontal_sum(acc[i][j]);
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

// All nine taps of a 3×3 filter at once, for KT filters: neighbors in both directions share what they load.
template <int KT>
static void weight_square(const WeightGradient& o, const V* x, const V* dy, const int32_t* index, int64_t kt, int64_t row) {
  V acc[KT][9];
#pragma GCC unroll 4
  for (int i = 0; i < KT; ++i)
#pragma GCC unroll 9
    for (int j = 0; j < 9; ++j) acc[i][j] = V{};
  const int64_t map = o.P * o.Q;
  for (int64_t p = 0; p < o.P; ++p) {
    const V *top = x + p * o.stride_h * o.WE, *dp = dy + p * o.Q;
    for (int64_t q = 0; q < o.Q; ++q, top += o.stride_w, ++dp) {
      V upstream[KT];
#pragma GCC unroll 4
      for (int i = 0; i < KT; ++i) upstream[i] = dp[i * map];
#pragma GCC unroll 9
      for (int j = 0; j < 9; ++j) {
        const V pixel = top[j / 3 * row + j % 3 * o.step];
#pragma GCC unroll 4
        for (int i = 0; i < KT; ++i) acc[i][j] += upstream[i] * pixel;
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < KT; ++i)
#pragma GCC unroll 9
    for (int j = 0; j < 9; ++j) o.dw[index[j * kt + i]] += horizontal_sum(acc[i][j]);
}

// KT_MOST filters from k on, the taps of channels c … c_end.
static void weight_block(const WeightGradient& o, int64_t k, int64_t kt, int64_t taps, int64_t R, int64_t S, int64_t c,
                         int64_t c_end, const int32_t* offset, const int32_t* pack) {
  const V* dy = o.dy + k * o.P * o.Q;
  if (L >= 16 && R == 3 && S == 3) {
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

// ── fully connected ──────────────────────────────────────────────────────────────────────────────

// T neurons over M micro-batches whose inputs lie `apart` vectors from each other, as do their outputs.
template <int T, int M>
static void linear_rows(const V* x, V* y, int64_t apart, const float* w, const float* bias, int64_t C, bool relu) {
  V acc[T][M];
#pragma GCC unroll 8
  for (int i = 0; i < T; ++i)
#pragma GCC unroll 2
    for (int m = 0; m < M; ++m) acc[i][m] = splat(bias ? bias[i] : 0.0f);
  for (int64_t c = 0; c < C; ++c)
#pragma GCC unroll 8
    for (int i = 0; i < T; ++i)
#pragma GCC unroll 2
      for (int m = 0; m < M; ++m) acc[i][m] += w[i * C + c] * x[m * apart + c];
#pragma GCC unroll 8
  for (int i = 0; i < T; ++i)
#pragma GCC unroll 2
    for (int m = 0; m < M; ++m) y[m * apart + i] = relu ? choose(acc[i][m] <= 0.0f, V{}, acc[i][m]) : acc[i][m];
}

template <int M>
static void linear_forward(const V* x, V* y, int64_t apart, const float* w, const float* bias, int64_t C, int64_t K,
                           bool relu) {
  constexpr int T = L >= 16 || M == 1 ? 8 : 4;
  int64_t k = 0;
  for (; k + T <= K; k += T) linear_rows<T, M>(x, y + k, apart, w + k * C, bias ? bias + k : nullptr, C, relu);
  for (; k + 2 <= K; k += 2) linear_rows<2, M>(x, y + k, apart, w + k * C, bias ? bias + k : nullptr, C, relu);
  for (; k < K; ++k) linear_rows<1, M>(x, y + k, apart, w + k * C, bias ? bias + k : nullptr, C, relu);
}

template <int T>
static void linear_columns(const V* dy, V* dx, const float* w, int64_t C, int64_t K, bool accumulate) {
  V acc[T];
#pragma GCC unroll 8
  for (int j = 0; j < T; ++j) acc[j] = accumulate ? dx[j] : V{};
  for (int64_t k = 0; k < K; ++k) {
    const V upstream = dy[k];
#pragma GCC unroll 8
    for (int j = 0; j < T; ++j) acc[j] += w[k * C + j] * upstream;
  }
#pragma GCC unroll 8
  for (int j = 0; j < T; ++j) dx[j] = acc[j];
}

static void linear_backward_x(const V* dy, V* dx, const float* w, int64_t C, int64_t K, int64_t c, int64_t end,
                              bool accumulate) {
  for (; c + 8 <= end; c += 8) linear_columns<8>(dy, dx + c, w + c, C, K, accumulate);
  for (; c < end; ++c) linear_columns<1>(dy, dx + c, w + c, C, K, accumulate);
}

// The gradient of a fully connected layer's weights is one matrix product for many micro-batches, dw = dyᵀ·x: rows of
// x (n, C) are kept as floats, dy as (micro-batch, K, lane). No weight is summed over lanes, none goes through slots.
constexpr int KB = L >= 16 ? 6 : 4, CB = L >= 16 ? 4 : 2;

// T neurons, W vectors of columns; rows of x lie `pitch` floats apart. With `add`, dw is added to.
template <int T, int W>
static void linear_weight_tile(const float* x, int64_t pitch, const float* dy, float* dw, int64_t C, int64_t K, int64_t n,
                               bool add) {
  V acc[T][W];
#pragma GCC unroll 8
  for (int i = 0; i < T; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < W; ++j) acc[i][j] = add ? V(*reinterpret_cast<const VU*>(dw + i * C + j * L)) : V{};
  for (int64_t from = 0; from < n; from += L, dy += K * L)
    for (int64_t l = 0, lanes = n - from < L ? n - from : L; l < lanes; ++l, x += pitch) {
#pragma GCC unroll 8
      for (int j = 0; j < W; ++j) {
        const V value = *reinterpret_cast<const VU*>(x + j * L);
#pragma GCC unroll 8
        for (int i = 0; i < T; ++i) acc[i][j] += dy[i * L + l] * value;
      }
    }
#pragma GCC unroll 8
  for (int i = 0; i < T; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < W; ++j) *reinterpret_cast<VU*>(dw + i * C + j * L) = acc[i][j];
}

// All neurons k … end, W vectors of columns.
template <int W>
static void linear_weight_columns(const float* x, int64_t pitch, const float* dy, float* dw, int64_t C, int64_t K, int64_t n,
                                  int64_t k, int64_t end, bool add) {
  for (; k + KB <= end; k += KB) linear_weight_tile<KB, W>(x, pitch, dy + k * L, dw + k * C, C, K, n, add);
  for (; k + 2 <= end; k += 2) linear_weight_tile<2, W>(x, pitch, dy + k * L, dw + k * C, C, K, n, add);
  for (; k < end; ++k) linear_weight_tile<1, W>(x, pitch, dy + k * L, dw + k * C, C, K, n, add);
}

// Neurons k … end of dw, from n images, at most `ROUND·L` of them. A panel of columns is copied together first: rows of
// x that lie a multiple of 4 KB apart would fight for the same few places of the cache.
static void linear_weight_gradient(const float* x, const float* dy, float* dw, int64_t C, int64_t K, int64_t n, int64_t k,
                                   int64_t end, bool add) {
  constexpr int64_t WIDE = CB * L;
  alignas(64) float panel[ROUND * L * WIDE];
  int64_t c = 0;
  for (; c + WIDE <= C; c += WIDE) {
    const bool copied = end - k > 2 * KB && C > 4 * WIDE;
    for (int64_t i = 0; copied && i < n; ++i) memcpy(panel + i * WIDE, x + i * C + c, WIDE * sizeof(float));
    if (copied) linear_weight_columns<CB>(panel, WIDE, dy, dw + c, C, K, n, k, end, add);
    else linear_weight_columns<CB>(x + c, C, dy, dw + c, C, K, n, k, end, add);
  }
  for (; c + L <= C; c += L) linear_weight_columns<1>(x + c, C, dy, dw + c, C, K, n, k, end, add);
  for (; k < end; ++k)
    for (int64_t at = c; at < C; ++at) {
      float total = add ? dw[k * C + at] : 0.0f;
      for (int64_t image = 0; image < n; ++image) total += dy[(image / L * K + k) * L + image % L] * x[image * C + at];
      dw[k * C + at] = total;
    }
}

// ── pooling; maps give for output p and tap r the input row, or -1 ───────────────────────────────

static void max_pool(const V* x, V* y, int64_t C, int64_t H, int64_t W, int64_t P, int64_t Q, int64_t R, int64_t S,
                     const int32_t* row, const int32_t* col) {
  for (int64_t c = 0; c < C; ++c, x += H * W)
    for (int64_t p = 0; p < P; ++p)
      for (int64_t q = 0; q < Q; ++q, ++y) {
        V best = splat(-__builtin_inff());
        for (int64_t r = 0; r < R; ++r) {
          if (row[p * R + r] < 0) continue;
          const V* line = x + row[p * R + r] * W;
          for (int64_t s = 0; s < S; ++s)
            if (col[q * S + s] >= 0) {
              const V value = line[col[q * S + s]];
              best = choose(value <= best, best, value);
            }
        }
        *y = best;
      }
}

static void max_pool_backward(const V* x, const V* y, const V* dy, V* dx, int64_t C, int64_t H, int64_t W, int64_t P,
                              int64_t Q, int64_t R, int64_t S, const int32_t* row, const int32_t* col) {
  for (int64_t c = 0; c < C; ++c, x += H * W, dx += H * W)
    for (int64_t p = 0; p < P; ++p)
      for (int64_t q = 0; q < Q; ++q, ++y, ++dy) {
        VI open = VI{} - 1;  // lanes whose winner has not been met; of equal numbers the first wins
        const V best = *y, upstream = *dy;
        for (int64_t r = 0; r < R; ++r) {
          if (row[p * R + r] < 0) continue;
          const int64_t line = row[p * R + r] * W;
          for (int64_t s = 0; s < S; ++s)
            if (col[q * S + s] >= 0) {
              const int64_t at = line + col[q * S + s];
              const VI wins = (x[at] == best) & open;
              open &= ~wins;
              dx[at] += choose(wins, upstream, V{});
            }
        }
      }
}

// 2×2 windows side by side, the usual case: no maps, every input written once.
static void max_pool_pairs(const V* x, V* y, int64_t C, int64_t H, int64_t W, int64_t P, int64_t Q) {
  for (int64_t c = 0; c < C; ++c, x += H * W)
    for (int64_t p = 0; p < P; ++p) {
      const V *top = x + 2 * p * W, *bottom = top + W;
      for (int64_t q = 0; q < Q; ++q, ++y, top += 2, bottom += 2) {
        *y = largest_of_four(top, bottom);
      }
    }
}

// With relu, x is what a fused ReLU left: a winner of 0 or less lets nothing through, and sums[c] += Σ dy that passed.
static void max_pool_pairs_backward(const V* x, const V* y, const V* dy, V* dx, int64_t C, int64_t H, int64_t W,
                                    int64_t P, int64_t Q, bool relu, float* sums) {
  for (int64_t c = 0; c < C; ++c, x += H * W, dx += H * W) {
    V total{};
    for (int64_t p = 0; p < P; ++p) {
      const V *top = x + 2 * p * W, *bottom = top + W;
      V *dtop = dx + 2 * p * W, *dbottom = dtop + W;
      for (int64_t q = 0; q < Q; ++q, ++y, ++dy, top += 2, bottom += 2, dtop += 2, dbottom += 2) {
        const V best = *y, upstream = relu ? choose(best > 0.0f, *dy, V{}) : *dy;
        const VI first = top[0] == best, second = (top[1] == best) & ~first;
        const VI third = (bottom[0] == best) & ~(first | second);
        const VI fourth = (bottom[1] == best) & ~(first | second | third);
        dtop[0] = choose(first, upstream, V{});
        dtop[1] = choose(second, upstream, V{});
        dbottom[0] = choose(third, upstream, V{});
        dbottom[1] = choose(fourth, upstream, V{});
        total += upstream;
      }
    }
    if (sums) sums[c] += horizontal_sum(total);
  }
}

static void avg_pool(const V* x, V* y, int64_t C, int64_t H, int64_t W, int64_t P, int64_t Q, int64_t R, int64_t S,
                     const int32_t* row, const int32_t* col, const int32_t* count) {
  for (int64_t c = 0; c < C; ++c, x += H * W)
    for (int64_t p = 0; p < P; ++p)
      for (int64_t q = 0; q < Q; ++q, ++y) {
        V total{};
        for (int64_t r = 0; r < R; ++r)
          for (int64_t s = 0; s < S; ++s)
            if (row[p * R + r] >= 0 && col[q * S + s] >= 0) total += x[row[p * R + r] * W + col[q * S + s]];
        *y = total / static_cast<float>(count[p * Q + q]);
      }
}

static void avg_pool_backward(const V* dy, V* dx, int64_t C, int64_t H, int64_t W, int64_t P, int64_t Q, int64_t R,
                              int64_t S, const int32_t* row, const int32_t* col, const int32_t* count) {
  for (int64_t c = 0; c < C; ++c, dx += H * W)
    for (int64_t p = 0; p < P; ++p)
      for (int64_t q = 0; q < Q; ++q, ++dy) {
        const V share = *dy / static_cast<float>(count[p * Q + q]);
        for (int64_t r = 0; r < R; ++r)
          for (int64_t s = 0; s < S; ++s)
            if (row[p * R + r] >= 0 && col[q * S + s] >= 0) dx[row[p * R + r] * W + col[q * S + s]] += share;
      }
}

// ── elementwise, normalization across channels ───────────────────────────────────────────────────

template <class F>
static inline V by_lane(V x, F f) {
  V y{};
  for (int l = 0; l < L; ++l) y[l] = f(x[l]);
  return y;
}

static inline float stable_sigmoid(float x) {
  const float small = expf(-fabsf(x));
  return (x >= 0.0f ? 1.0f : small) / (1.0f + small);
}

static void softmax(const V* x, V* y, int64_t C, int64_t places) {
  for (int64_t at = 0; at < places; ++at) {
    V most = x[at], total{};
    for (int64_t c = 1; c < C; ++c) most = choose(x[c * places + at] > most, x[c * places + at], most);
    for (int64_t c = 0; c < C; ++c) {
      y[c * places + at] = by_lane(x[c * places + at] - most, [](float v) { return expf(v); });
      total += y[c * places + at];
    }
    for (int64_t c = 0; c < C; ++c) y[c * places + at] /= total;
  }
}

static V over_channels(const V* values, int64_t C, int64_t places, int64_t at, int64_t c, int64_t before, int64_t after) {
  V total{};
  const int64_t low = c - before < 0 ? 0 : c - before, high = c + after >= C ? C - 1 : c + after;
  for (int64_t i = low; i <= high; ++i) total += values[i * places + at];
  return total;
}

// Philox4x32-10 (Salmon et al. 2011); the layout of a draw is written down in philox.py.
static inline void philox(const uint32_t in[4], uint64_t key, uint32_t out[4]) {
  uint32_t c0 = in[0], c1 = in[1], c2 = in[2], c3 = in[3];
  auto low = static_cast<uint32_t>(key), high = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t first = uint64_t{0xD2511F53u} * c0, second = uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<uint32_t>(second >> 32) ^ c1 ^ low;
    c2 = static_cast<uint32_t>(first >> 32) ^ c3 ^ high;
    c1 = static_cast<uint32_t>(second);
    c3 = static_cast<uint32_t>(first);
    low += 0x9E3779B9u;
    high += 0xBB67AE85u;
  }
  out[0] = c0; out[1] = c1; out[2] = c2; out[3] = c3;
}
