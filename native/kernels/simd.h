// Vectors, and what all kernels do with them: splatting, choosing, summing over lanes, turning lanes round. Every activation
// element is a vector V of L floats, one image a lane.
//
// Compiled once per instruction set, in its namespace, with STRIATE_ISA and STRIATE_LANES; so are all files of this folder.
#pragma once
#include <cstdint>

#include "../schema.h"

namespace striate::STRIATE_ISA {

constexpr int L = STRIATE_LANES;
typedef float V __attribute__((vector_size(4 * L), aligned(4 * L)));
typedef float VU __attribute__((vector_size(4 * L), aligned(4)));  // the same at any address
typedef int32_t VI __attribute__((vector_size(4 * L), aligned(4 * L)));

// value − 0 is value itself, −0 too, and one broadcast; 0 + value would be an addition before it.
static inline V splat(float value) { return value - V{}; }

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

constexpr int64_t up_to_lanes(int64_t count) { return (count + L - 1) / L * L; }

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

template <class F>
static inline V by_lane(V x, F f) {
  V y{};
  for (int l = 0; l < L; ++l) y[l] = f(x[l]);
  return y;
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

static inline void put(V* to, V value, bool add) { *to = add ? *to + value : value; }

// A place among an op's parameters or slots, or null where there is none.
static inline float* place_in(float* slot, int64_t at) { return at >= 0 ? slot + at : nullptr; }

}  // namespace striate::STRIATE_ISA
