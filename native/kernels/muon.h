// Products of Muon's step (muon.cpp says in which order): rows begin … end of each, so that any number of threads gives the same
// bits. Matrices lie in rows of `pitch` floats, a multiple of the lanes, zeros behind their own numbers.
#pragma once
#include "simd.h"

namespace striate::STRIATE_ISA {

constexpr int MUON_ROWS = 4, MUON_COLUMNS = 2;   // of a tile: 4·4 sums of products, or 4·2 vectors

static inline const V* row_of(const float* matrix, int64_t row, int64_t pitch) {
  return reinterpret_cast<const V*>(matrix + row * pitch);
}

// out[i][j] = α·own[i][j] + β·Σ_n a[i][n]·a[j][n] for ROWS rows from i and COLUMNS from j: two rows' product, whole vectors along n.
template <int ROWS, int COLUMNS>
static void dots(const float* a, int64_t pitch, int64_t i, int64_t j, const float* own, float alpha, float beta, float* out, int64_t out_pitch) {
  V sum[ROWS][COLUMNS]{};
  for (int64_t n = 0; n < pitch / L; ++n)
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < COLUMNS; ++c) sum[r][c] += row_of(a, i + r, pitch)[n] * row_of(a, j + c, pitch)[n];
  for (int r = 0; r < ROWS; ++r)
    for (int c = 0; c < COLUMNS; ++c) {
      const int64_t at = (i + r) * out_pitch + j + c;
      out[at] = beta * horizontal_sum(sum[r][c]) + (own ? alpha * own[at] : 0.0f);
    }
}

// out (rows, rows) = α·own + β·a·aᵀ, rows begin … end; a (rows, pitch). own null: β·a·aᵀ.
static void muon_square(const float* a, int64_t rows, int64_t pitch, const float* own, float alpha, float beta, float* out,
                        int64_t out_pitch, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i += MUON_ROWS)
    for (int64_t j = 0; j < rows; j += MUON_ROWS) {
      if (i + MUON_ROWS <= end && j + MUON_ROWS <= rows) {
        dots<MUON_ROWS, MUON_ROWS>(a, pitch, i, j, own, alpha, beta, out, out_pitch);
        continue;
      }
      for (int64_t r = i; r < end && r < i + MUON_ROWS; ++r)
        for (int64_t c = j; c < rows && c < j + MUON_ROWS; ++c) dots<1, 1>(a, pitch, r, c, own, alpha, beta, out, out_pitch);
    }
}

// out[i] = α·x[i] + Σ_k b[i][k]·x[k] for ROWS rows from i, COLUMNS vectors from n.
template <int ROWS, int COLUMNS>
static void combine_rows(const float* b, int64_t b_pitch, const float* x, int64_t rows, int64_t pitch, float alpha, float* out, int64_t i, int64_t n) {
  V sum[ROWS][COLUMNS];
  for (int r = 0; r < ROWS; ++r)
    for (int c = 0; c < COLUMNS; ++c) sum[r][c] = alpha * row_of(x, i + r, pitch)[n + c];
  for (int64_t k = 0; k < rows; ++k)
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < COLUMNS; ++c) sum[r][c] += b[(i + r) * b_pitch + k] * row_of(x, k, pitch)[n + c];
  for (int r = 0; r < ROWS; ++r)
    for (int c = 0; c < COLUMNS; ++c) reinterpret_cast<V*>(out + (i + r) * pitch)[n + c] = sum[r][c];
}

// out (rows, pitch) = α·x + b·x, rows begin … end; b (rows, rows).
static void muon_product(const float* b, int64_t b_pitch, const float* x, int64_t rows, int64_t pitch, float alpha, float* out,
                         int64_t begin, int64_t end) {
  const int64_t vectors = pitch / L;
  int64_t n = 0;
  for (; n + MUON_COLUMNS <= vectors; n += MUON_COLUMNS) {
    int64_t i = begin;
    for (; i + MUON_ROWS <= end; i += MUON_ROWS)
      combine_rows<MUON_ROWS, MUON_COLUMNS>(b, b_pitch, x, rows, pitch, alpha, out, i, n);
    for (; i < end; ++i) combine_rows<1, MUON_COLUMNS>(b, b_pitch, x, rows, pitch, alpha, out, i, n);
  }
  for (; n < vectors; ++n)
    for (int64_t i = begin; i < end; ++i) combine_rows<1, 1>(b, b_pitch, x, rows, pitch, alpha, out, i, n);
}

}  // namespace striate::STRIATE_ISA
