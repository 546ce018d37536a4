// Winograd's transforms of 6×6 tiles, with the points 0, ±3/4, ±3/2 and ∞: F(4,3) gives 4×4 outputs of a 3×3 filter, F(2,5) 2×2 of
// a 5×5 one, and both read the same 6×6 inputs by the same Bᵀ.
//   forward  y = Aᵀ [(G w Gᵀ) ⊙ (Bᵀ x B)] A
//   back     dx = B [(G w Gᵀ) ⊙ (A dy Aᵀ)] Bᵀ,  dw = Gᵀ [(Bᵀ x B) ⊙ (A dy Aᵀ)] G
// A holds the points' powers, and G the same ones over N, the derivative of Π (x − point) at each; rows of Bᵀ are the coefficients of
// Π (x − other point). A and B are exact in float32. Points ±a share their even and their odd powers.
//
// Lane-agnostic: T is a number or a vector of them. What is read comes from load(row, column), what is made goes to
// store(row, column, value), so that any layout may use them. Leaves out: products, borders.
#pragma once
#include "../schema.h"

namespace striate::STRIATE_ISA {

constexpr int winograd_outputs(int kernel) { return WINOGRAD_TILE + 1 - kernel; }

// The points a and b, and the constants made of them, in the precision of a T's numbers.
template <class T>
struct NumberOf {
  static T vector();
  using Number = decltype(vector()[0] + 0);
};
template <> struct NumberOf<float> { using Number = float; };
template <> struct NumberOf<double> { using Number = double; };

template <class T>
struct Points {
  using Number = typename NumberOf<T>::Number;
  static constexpr Number A = 3.0 / 4, B = 3.0 / 2, AA = A * A, BB = B * B, AABB = AA * BB, SUM = AA + BB;
  static constexpr Number ZERO = 64.0 / 81, ONE = -128.0 / 243, TWO = 32.0 / 243;  // 1/N of 0, ±a, ±b
};

// ── one line ─────────────────────────────────────────────────────────────────────────────────────

// Bᵀ: 6 inputs to 6 points.
template <class T>
static inline __attribute__((always_inline)) void input_line(const T (&x)[6], T (&v)[6]) {
  using W = Points<T>;
  const T even_a = x[4] - W::BB * x[2], odd_a = x[3] - W::BB * x[1];
  const T even_b = x[4] - W::AA * x[2], odd_b = x[3] - W::AA * x[1];
  v[0] = (x[4] - W::SUM * x[2]) + W::AABB * x[0];
  v[1] = even_a + W::A * odd_a;
  v[2] = even_a - W::A * odd_a;
  v[3] = even_b + W::B * odd_b;
  v[4] = even_b - W::B * odd_b;
  v[5] = (x[5] - W::SUM * x[3]) + W::AABB * x[1];
}

// B: its transpose.
template <class T>
static inline __attribute__((always_inline)) void input_line_back(const T (&v)[6], T (&x)[6]) {
  using W = Points<T>;
  const T even_a = v[1] + v[2], odd_a = W::A * (v[1] - v[2]), even_b = v[3] + v[4], odd_b = W::B * (v[3] - v[4]);
  x[0] = W::AABB * v[0];
  x[1] = W::AABB * v[5] - W::BB * odd_a - W::AA * odd_b;
  x[2] = -(W::SUM * v[0] + W::BB * even_a + W::AA * even_b);
  x[3] = (odd_a + odd_b) - W::SUM * v[5];
  x[4] = v[0] + (even_a + even_b);
  x[5] = v[5];
}

// A, of N coefficients: a polynomial's values at the points.
template <int N, class T>
static inline __attribute__((always_inline)) void values_line(const T (&c)[N], T (&v)[6]) {
  using W = Points<T>;
  T even_a = c[0], even_b = c[0], odd_a = c[1], odd_b = c[1];
  if constexpr (N == 3 || N == 4) even_a = c[0] + W::AA * c[2], even_b = c[0] + W::BB * c[2];
  if constexpr (N == 5) even_a = c[0] + W::AA * (c[2] + W::AA * c[4]), even_b = c[0] + W::BB * (c[2] + W::BB * c[4]);
  if constexpr (N >= 4) odd_a = c[1] + W::AA * c[3], odd_b = c[1] + W::BB * c[3];
  v[0] = c[0];
  v[1] = even_a + W::A * odd_a;
  v[2] = even_a - W::A * odd_a;
  v[3] = even_b + W::B * odd_b;
  v[4] = even_b - W::B * odd_b;
  v[5] = c[N - 1];
}

// Aᵀ, to N coefficients: its transpose.
template <int N, class T>
static inline __attribute__((always_inline)) void values_line_back(const T (&v)[6], T (&c)[N]) {
  using W = Points<T>;
  T even_a = v[1] + v[2], even_b = v[3] + v[4], odd_a = W::A * (v[1] - v[2]), odd_b = W::B * (v[3] - v[4]);
  c[0] = v[0] + (even_a + even_b);
  c[1] = odd_a + odd_b;
  if constexpr (N >= 3) c[2] = W::AA * even_a + W::BB * even_b;
  if constexpr (N >= 4) c[3] = W::AA * odd_a + W::BB * odd_b;
  if constexpr (N >= 5) c[4] = W::AA * W::AA * even_a + W::BB * W::BB * even_b;
  c[N - 1] += v[5];
}

// 1/N of each point: what turns A into G.
template <class T>
static inline __attribute__((always_inline)) void scale_line(T (&v)[6]) {
  using W = Points<T>;
  v[0] = W::ZERO * v[0];
  v[1] = W::ONE * v[1], v[2] = W::ONE * v[2];
  v[3] = W::TWO * v[3], v[4] = W::TWO * v[4];
}

// ── tiles: a line along each column, then along each row ─────────────────────────────────────────

template <int FROM, int TO, class T, class Line, class Load, class Store>
static inline __attribute__((always_inline)) void both_ways(Line line, Load load, Store store) {
  T middle[TO][FROM];
#pragma GCC unroll 1
  for (int j = 0; j < FROM; ++j) {
    T from[FROM], to[TO];
#pragma GCC unroll 6
    for (int i = 0; i < FROM; ++i) from[i] = load(i, j);
    line(from, to);
#pragma GCC unroll 6
    for (int i = 0; i < TO; ++i) middle[i][j] = to[i];
  }
#pragma GCC unroll 1
  for (int i = 0; i < TO; ++i) {
    T to[TO];
    line(middle[i], to);
#pragma GCC unroll 6
    for (int j = 0; j < TO; ++j) store(i, j, to[j]);
  }
}

// Bᵀ x B: a tile's inputs to its points.
template <class T, class Load, class Store>
static inline void winograd_input(Load load, Store store) {
  both_ways<6, 6, T>([](const T (&x)[6], T (&v)[6]) { input_line(x, v); }, load, store);
}

// B m Bᵀ: its transpose.
template <class T, class Load, class Store>
static inline void winograd_input_back(Load load, Store store) {
  both_ways<6, 6, T>([](const T (&v)[6], T (&x)[6]) { input_line_back(v, x); }, load, store);
}

// Aᵀ m A: points to OUTPUTS×OUTPUTS outputs.
template <int OUTPUTS, class T, class Load, class Store>
static inline void winograd_output(Load load, Store store) {
  both_ways<6, OUTPUTS, T>([](const T (&v)[6], T (&y)[OUTPUTS]) { values_line_back<OUTPUTS>(v, y); }, load, store);
}

// A dy Aᵀ: its transpose.
template <int OUTPUTS, class T, class Load, class Store>
static inline void winograd_output_back(Load load, Store store) {
  both_ways<OUTPUTS, 6, T>([](const T (&y)[OUTPUTS], T (&v)[6]) { values_line<OUTPUTS>(y, v); }, load, store);
}

// G w Gᵀ: a KERNEL×KERNEL filter to its points.
template <int KERNEL, class T, class Load, class Store>
static inline void winograd_filter(Load load, Store store) {
  both_ways<KERNEL, 6, T>([](const T (&w)[KERNEL], T (&u)[6]) { values_line<KERNEL>(w, u), scale_line(u); }, load, store);
}

// Gᵀ m G: its transpose.
template <int KERNEL, class T, class Load, class Store>
static inline void winograd_filter_back(Load load, Store store) {
  both_ways<6, KERNEL, T>(
      [](const T (&u)[6], T (&w)[KERNEL]) {
        T v[6] = {u[0], u[1], u[2], u[3], u[4], u[5]};
        scale_line(v);
        values_line_back<KERNEL>(v, w);
      },
      load, store);
}

}  // namespace striate::STRIATE_ISA
