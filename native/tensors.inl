// Tensors moved about, reduced, resized and combined (plan/tensors.py writes the maps), and norms of one image: plain loops
// over vectors, the same for every shape. `add`: a gradient is added to what is there.

static inline void put(V* to, V value, bool add) { *to = add ? *to + value : value; }

// y[j] = x[map[j]], or a constant where the map says -1.
static void gather(const V* x, V* y, const int32_t* map, float otherwise, int64_t j0, int64_t j1) {
  for (int64_t j = j0; j < j1; ++j) y[j] = map[j] < 0 ? splat(otherwise) : x[map[j]];
}

// A place that was taken several times gets the sum.
static void gather_backward(const V* dy, V* dx, const int32_t* map, int64_t count) {
  for (int64_t j = 0; j < count; ++j)
    if (map[j] >= 0) dx[map[j]] += dy[j];
}

// ── two inputs ───────────────────────────────────────────────────────────────────────────────────

// Of equal numbers the first is taken; NaN is.
static inline VI takes_first(int64_t pairing, V a, V b) { return (pairing == LARGER ? a >= b : a <= b) | (a != a); }

static inline V power(V x, V exponent) {
  V y{};
  for (int l = 0; l < L; ++l) y[l] = powf(x[l], exponent[l]);
  return y;
}

static void pair_forward(int64_t pairing, bool relu, const V* a, const V* b, V* y, int64_t j0, int64_t j1) {
  if (pairing == TOTAL) {
    for (int64_t j = j0; j < j1; ++j) {
      const V sum = a[j] + b[j];
      y[j] = relu ? choose(sum <= 0.0f, V{}, sum) : sum;
    }
    return;
  }
  for (int64_t j = j0; j < j1; ++j) switch (pairing) {
      case PRODUCT: y[j] = a[j] * b[j]; break;
      case QUOTIENT: y[j] = a[j] / b[j]; break;
      case POWER: y[j] = power(a[j], b[j]); break;
      default: y[j] = choose(takes_first(pairing, a[j], b[j]), a[j], b[j]);
    }
}

// The slope with respect to the second number if `second`, else to the first.
static inline V pair_slope(int64_t pairing, bool second, V a, V b) {
  switch (pairing) {
    case PRODUCT: return second ? a : b;
    case QUOTIENT: return second ? -a / (b * b) : 1.0f / b;
    case POWER:
      if (second) return choose(a > 0.0f, power(a, b) * by_lane(a, [](float v) { return logf(v); }), V{});
      return choose(b == 0.0f, V{}, b * power(a, b - 1.0f));
    default: {
      const VI first = takes_first(pairing, a, b);
      return second ? choose(first, V{}, splat(1.0f)) : choose(first, splat(1.0f), V{});
    }
  }
}

static void pair_backward(int64_t pairing, bool relu, bool second, const V* a, const V* b, const V* y, const V* dy, V* dx, bool add,
                          int64_t j0, int64_t j1) {
  if (pairing == TOTAL) {
    for (int64_t j = j0; j < j1; ++j) put(dx + j, relu ? choose(y[j] > 0.0f, dy[j], V{}) : dy[j], add);
    return;
  }
  for (int64_t j = j0; j < j1; ++j) put(dx + j, dy[j] * pair_slope(pairing, second, a[j], b[j]), add);
}

// ── reductions ───────────────────────────────────────────────────────────────────────────────────

// Where the largest number stands: of equal ones the first, or the last. NaN is the largest.
static V where_most(const V* x, const int32_t* at, int64_t inner, bool last) {
  V most = x[at[0]], place{};
  for (int64_t i = 1; i < inner; ++i) {
    const V value = x[at[i]];
    const VI larger = (value > most) | ((value != value) & (most == most));
    const VI wins = last ? larger | (value == most) | (value != value) : larger;
    most = choose(wins, value, most);
    place = choose(wins, splat(static_cast<float>(i)), place);
  }
  return place;
}

static void reduce(int64_t reduction, const V* x, V* y, const int32_t* map, int64_t inner, int64_t c0, int64_t c1) {
  for (int64_t c = c0; c < c1; ++c) {
    const int32_t* at = map + c * inner;
    if (reduction >= WHERE) {
      y[c] = where_most(x, at, inner, reduction == WHERE_LAST);
      continue;
    }
    V total = splat(reduction == MOST ? -__builtin_inff() : 0.0f);
    VI none{};  // lanes that met a NaN, which is the largest
    for (int64_t i = 0; i < inner; ++i) {
      const V value = x[at[i]];
      total = reduction == MOST ? larger(total, value) : total + value;
      none |= value != value;
    }
    if (reduction == MOST) total = choose(none, splat(__builtin_nanf("")), total);
    y[c] = reduction == MEAN ? total / static_cast<float>(inner) : total;
  }
}

static void reduce_backward(int64_t reduction, const V* x, const V* y, const V* dy, V* dx, const int32_t* map, int64_t inner,
                            bool add, int64_t c0, int64_t c1) {
  for (int64_t c = c0; c < c1; ++c) {
    const int32_t* at = map + c * inner;
    const V share = reduction == MEAN ? dy[c] / static_cast<float>(inner) : dy[c];
    VI open = VI{} - 1;  // lanes whose maximum has not been met; of equal ones the first gets the gradient
    for (int64_t i = 0; i < inner; ++i) {
      if (reduction != MOST) {
        put(dx + at[i], reduction >= WHERE ? V{} : share, add);  // whole numbers pass nothing on
        continue;
      }
      const V value = x[at[i]];
      const VI wins = ((value == y[c]) | (value != value)) & open;
      open &= ~wins;
      put(dx + at[i], choose(wins, share, V{}), add);
    }
  }
}

// ── matrices ─────────────────────────────────────────────────────────────────────────────────────

// out = a·b of each lane, for `matrices` pairs of them, each of `rows` rows. Going down a row, or along the sum, is so many
// vectors, so that either can be read as its transpose.
struct ProductTask {
  const V* a;
  int64_t a_size, a_row, a_depth;
  const V* b;
  int64_t b_size, b_depth, b_column;
  V* out;
  int64_t matrices, rows, columns, depth;
  bool add;
};

template <int N>
static inline void product_tile(const ProductTask& o, const V* a, const V* b, V* out) {
  V acc[N]{};
  for (int64_t k = 0; k < o.depth; ++k, a += o.a_depth, b += o.b_depth) {
    const V factor = *a;
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) acc[n] += factor * b[n * o.b_column];
  }
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) put(out + n, acc[n], o.add);
}

static void product(const ProductTask& o, Share share) {
  const int64_t end = share.end(o.matrices * o.rows);
  for (int64_t i = share.begin(o.matrices * o.rows); i < end; ++i) {
    const V *a = o.a + i / o.rows * o.a_size + i % o.rows * o.a_row, *b = o.b + i / o.rows * o.b_size;
    V* out = o.out + i * o.columns;
    int64_t n = 0;
    for (; n + 8 <= o.columns; n += 8) product_tile<8>(o, a, b + n * o.b_column, out + n);
    for (; n < o.columns; ++n) product_tile<1>(o, a, b + n * o.b_column, out + n);
  }
}

// ── interpolation along one axis ─────────────────────────────────────────────────────────────────

// (outer, H, inner) → (outer, P, inner). Position p is the sum of taps starts[p] … starts[p + 1]; without any, a constant.
struct Resampling {
  int64_t H, P, inner;
  const int32_t *starts, *places;
  const float* shares;
};

static void resample(const Resampling& o, const V* x, V* y, float otherwise, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i)
    for (int64_t p = 0; p < o.P; ++p) {
      V* line = y + (i * o.P + p) * o.inner;
      const bool none = o.starts[p] == o.starts[p + 1];
      for (int64_t j = 0; j < o.inner; ++j) line[j] = splat(none ? otherwise : 0.0f);
      for (int32_t t = o.starts[p]; t < o.starts[p + 1]; ++t) {
        const V* from = x + (i * o.H + o.places[t]) * o.inner;
        for (int64_t j = 0; j < o.inner; ++j) line[j] += o.shares[t] * from[j];
      }
    }
}

static void resample_backward(const Resampling& o, const V* dy, V* dx, bool add, int64_t begin, int64_t end) {
  if (!add) memset(dx + begin * o.H * o.inner, 0, (end - begin) * o.H * o.inner * sizeof(V));
  for (int64_t i = begin; i < end; ++i)
    for (int64_t p = 0; p < o.P; ++p) {
      const V* line = dy + (i * o.P + p) * o.inner;
      for (int32_t t = o.starts[p]; t < o.starts[p + 1]; ++t) {
        V* to = dx + (i * o.H + o.places[t]) * o.inner;
        for (int64_t j = 0; j < o.inner; ++j) to[j] += o.shares[t] * line[j];
      }
    }
}

// ── with parameters ──────────────────────────────────────────────────────────────────────────────

static void prelu(const V* x, V* y, const float* weight, const int32_t* which, int64_t j0, int64_t j1) {
  for (int64_t j = j0; j < j1; ++j) y[j] = choose(x[j] < 0.0f, x[j] * weight[which[j]], x[j]);
}

// dx may be null. Neighbors with one weight are summed in a register.
static void prelu_backward(const V* x, const V* dy, V* dx, const float* weight, float* sums, const int32_t* which, int64_t count,
                           bool add) {
  V total{};
  for (int64_t j = 0; j < count; ++j) {
    const VI negative = x[j] < 0.0f;
    total += choose(negative, dy[j] * x[j], V{});
    if (j + 1 == count || which[j + 1] != which[j]) {
      sums[which[j]] += horizontal_sum(total);
      total = V{};
    }
    if (dx) put(dx + j, choose(negative, dy[j] * weight[which[j]], dy[j]), add);
  }
}

// Mean and 1/deviation of one channel of each image.
struct Spread {
  V mean, inverse;
};

static Spread spread_of(const V* x, int64_t places, float epsilon) {
  const V mean = sum_over(0, places, [x](int64_t j) { return x[j]; }) / static_cast<float>(places);
  const V squares = sum_over(0, places, [x, mean](int64_t j) { return (x[j] - mean) * (x[j] - mean); });
  return {mean, 1.0f / by_lane(squares / static_cast<float>(places) + epsilon, [](float v) { return sqrtf(v); })};
}

static void instance_norm(const V* x, V* y, const float* weight, const float* bias, int64_t places, float epsilon, int64_t c0,
                          int64_t c1) {
  for (int64_t c = c0; c < c1; ++c) {
    const Spread of = spread_of(x + c * places, places, epsilon);
    for (int64_t j = c * places; j < (c + 1) * places; ++j) y[j] = scaled((x[j] - of.mean) * of.inverse, weight[c], bias[c]);
  }
}

// dx = weight/deviation · (dy − mean(dy) − x̂·mean(dy·x̂)); dx may be null.
static void instance_norm_backward(const V* x, const V* dy, V* dx, const float* weight, float* dweight, float* dbias,
                                   int64_t places, float epsilon, bool add, int64_t c0, int64_t c1) {
  for (int64_t c = c0; c < c1; ++c) {
    const int64_t begin = c * places, end = begin + places;
    const Spread of = spread_of(x + begin, places, epsilon);
    V sum{}, products{};
    for (int64_t j = begin; j < end; ++j) {
      sum += dy[j];
      products += dy[j] * ((x[j] - of.mean) * of.inverse);
    }
    dweight[c] += horizontal_sum(products);
    dbias[c] += horizontal_sum(sum);
    if (!dx) continue;
    const auto count = static_cast<float>(places);
    for (int64_t j = begin; j < end; ++j) {
      const V normalized = (x[j] - of.mean) * of.inverse;
      put(dx + j, weight[c] * of.inverse * (dy[j] - sum / count - normalized * (products / count)), add);
    }
  }
}
