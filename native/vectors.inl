// What all kernels share: vectors, turning lanes round, shares of work, functions by lane. Every activation element is a
// vector V of L floats, one image a lane. Included by executor.cpp inside the namespace of one instruction set.

constexpr int L = STRIATE_LANES;
typedef float V __attribute__((vector_size(4 * L), aligned(4 * L)));
typedef float VU __attribute__((vector_size(4 * L), aligned(4)));  // the same at any address
typedef int32_t VI __attribute__((vector_size(4 * L), aligned(4 * L)));
constexpr int64_t CACHE_BYTES = 1 << 20;  // what a core keeps close; half of a usual second-level cache
constexpr int KT_MOST = FILTERS_A_TILE, QT_MOST = L >= 16 ? 6 : 3, ST_MOST = L >= 16 ? 6 : 3;

static inline V splat(float value) { return V{} + value; }

// The same number, in a register: where a value is used several times, compilers would load it again for each.
static inline V in_register(V value) {
#if defined(__x86_64__)
  __asm__("" : "+v"(value));
#elif defined(__aarch64__)
  __asm__("" : "+w"(value));
#endif
  return value;
}

static inline V choose(VI mask, V yes, V no) { return mask ? yes : no; }

static inline float horizontal_sum(V v) {
  float part[L];
  __builtin_memcpy(part, &v, sizeof v);
  for (int width = L / 2; width; width /= 2)
    for (int i = 0; i < width; ++i) part[i] += part[i + width];
  return part[0];
}

// Numbers of two vectors, by their places 0 … 2L−1 in both. (GCC 11 lacks the builtin that Clang has.)
template <int... PLACES>
static inline V picked(V a, V b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, PLACES...);
#else
  return __builtin_shuffle(a, b, VI{PLACES...});
#endif
}

template <int... J> struct Lanes {};
template <int N, int... J> struct AllLanes : AllLanes<N - 1, N - 1, J...> {};
template <int... J> struct AllLanes<0, J...> { using Type = Lanes<J...>; };
constexpr AllLanes<L>::Type ALL_LANES;

// Of two rows of blocks of 2·HALF lanes, the first halves of all blocks, or the second ones.
template <int HALF, int... J>
static inline V first_halves(V a, V b, Lanes<J...>) { return picked<(J & HALF ? L + J - HALF : J)...>(a, b); }
template <int HALF, int... J>
static inline V second_halves(V a, V b, Lanes<J...>) { return picked<(J & HALF ? L + J : J + HALF)...>(a, b); }

// Turn L vectors of L floats over: blocks of half the width change places, then quarters, and so on.
template <int HALF>
static inline void turn_over_step(V (&rows)[L]) {
#pragma GCC unroll 16
  for (int i = 0; i < L; ++i)
    if (!(i & HALF)) {
      const V a = rows[i], b = rows[i + HALF];
      rows[i] = first_halves<HALF>(a, b, ALL_LANES);
      rows[i + HALF] = second_halves<HALF>(a, b, ALL_LANES);
    }
  if constexpr (HALF > 1) turn_over_step<HALF / 2>(rows);
}

// The same for a block of rows of which only COUNT are wanted, each lane of the result being one row's sum: halves are added
// to one another, two rows to a vector, until one vector is left.
template <int COUNT, int HALF = L / 2>
static inline V sums_of_rows(V (&rows)[L]) {
#pragma GCC unroll 16
  for (int i = 0; i < HALF; ++i)
    if (i < COUNT) {
      const V a = rows[i], b = i + HALF < COUNT ? rows[i + HALF] : a;
      rows[i] = first_halves<HALF>(a, b, ALL_LANES) + second_halves<HALF>(a, b, ALL_LANES);
    }
  if constexpr (HALF > 1) return sums_of_rows<(COUNT < HALF ? COUNT : HALF), HALF / 2>(rows);
  return rows[0];
}

// sums[i] = the sum over the lanes of rows[i]. `sums` has room for a multiple of L.
template <int COUNT>
static inline void horizontal_sums(const V (&rows)[COUNT], float* sums) {
  constexpr int BLOCK = COUNT < L ? COUNT : L;
  V block[L];
#pragma GCC unroll 16
  for (int i = 0; i < BLOCK; ++i) block[i] = rows[i];
  *reinterpret_cast<VU*>(sums) = sums_of_rows<BLOCK>(block);
  if constexpr (COUNT > L) {
    V rest[COUNT - L];
#pragma GCC unroll 32
    for (int i = 0; i < COUNT - L; ++i) rest[i] = rows[L + i];
    horizontal_sums<COUNT - L>(rest, sums + L);
  }
}

// Σ of(j) from `begin` to `end`: four chains, since one would wait for each addition.
template <class F>
static inline V sum_over(int64_t begin, int64_t end, F of) {
  V part[4]{};
  int64_t j = begin;
  for (; j + 4 <= end; j += 4) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) part[i] += of(j + i);
  }
  for (; j < end; ++j) part[0] += of(j);
  return (part[0] + part[1]) + (part[2] + part[3]);
}

constexpr int up_to_lanes(int count) { return (count + L - 1) / L * L; }

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

static void softmax(const V* x, V* y, int64_t C, int64_t places, bool logarithm) {
  for (int64_t at = 0; at < places; ++at) {
    V most = x[at], total{};
    for (int64_t c = 1; c < C; ++c) most = choose(x[c * places + at] > most, x[c * places + at], most);
    for (int64_t c = 0; c < C; ++c) {
      y[c * places + at] = by_lane(x[c * places + at] - most, [](float v) { return expf(v); });
      total += y[c * places + at];
    }
    const V log_total = logarithm ? by_lane(total, [](float v) { return logf(v); }) : V{};
    for (int64_t c = 0; c < C; ++c)
      y[c * places + at] = logarithm ? x[c * places + at] - most - log_total : y[c * places + at] / total;
  }
}

// A number of a normalized channel, before a fused ReLU: one expression for both directions, so that they agree on its sign.
static inline V scaled(V normalized, float weight, float bias) { return normalized * weight + bias; }

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

// The larger of two; of equal ones, and where one is NaN, the first: one instruction on x86.
static inline V larger(V first, V second) { return choose(second > first, second, first); }

// Where neither is NaN: one comparison, which compilers find in these two.
static inline VI ordered(V a, V b) { return (a < b) | (a >= b); }

// The largest of a 2×2 window; of equal ones the first. NaN is the largest.
static inline V largest_of_four(const V* top, const V* bottom) {
  const V best = larger(larger(top[0], top[1]), larger(bottom[0], bottom[1]));
  return choose(ordered(top[0], top[1]) & ordered(bottom[0], bottom[1]), best, splat(__builtin_nanf("")));
}
