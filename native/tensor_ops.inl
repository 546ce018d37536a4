// Rows of tensors moved about and combined turned into calls of tensors.inl. Included by executor.cpp inside the namespace of
// one instruction set.

static Product product_of(const int64_t* o, V* a, bool back) {
  const V *x = a + o[X], *second = a + o[SECOND], *dy = a + o[DY];
  const int64_t left = o[P] * o[C], right = o[C] * o[Q], out = o[P] * o[Q];
  if (!back) return {x, left, o[C], 1, second, right, o[Q], 1, a + o[Y], o[GROUPS], o[P], o[Q], o[C], false};
  const bool add = o[ACCUMULATE] != 0;
  if (o[WHICH])  // secondᵀ·dy
    return {second, left, 1, o[C], dy, out, o[Q], 1, a + o[DX], o[GROUPS], o[C], o[Q], o[P], add};
  return {dy, out, o[Q], 1, second, right, 1, o[Q], a + o[DX], o[GROUPS], o[P], o[C], o[Q], add};  // dy·secondᵀ
}

static Resampling resampling_of(const int64_t* o, const int32_t* table) {
  return {o[H], o[P], o[W], table + o[TAPS], table + o[PACK], reinterpret_cast<const float*>(table + o[COUNTS])};
}

// The rows that plan/tensors.py writes.
static void tensor_forward(const Run& run, const int64_t* o, const double* f, V* a, Share share) {
  const int32_t* map = run.program.table + o[ROW_MAP];
  const V* x = a + o[X];
  V* y = a + o[Y];
  const int64_t c0 = share.begin(o[C]), c1 = share.end(o[C]), j0 = share.begin(o[COUNT]), j1 = share.end(o[COUNT]);
  switch (o[KIND]) {
    case COPY: {
      const auto factor = static_cast<float>(f[0]);
      for (int64_t j = j0; j < j1; ++j) y[j] = o[K] ? y[j] + factor * x[j] : factor * x[j];
      break;
    }
    case MOVE:
      if (o[WHICH])
        for (int64_t j = j0; j < j1; ++j) y[map[j]] = x[j];
      else gather(x, y, map, static_cast<float>(f[0]), j0, j1);
      break;
    case PAIR:
      if (!o[WHICH]) pair_forward(o[K], o[FUSED_RELU] != 0, x, a + o[SECOND], y, j0, j1);
      break;
    case REDUCE: reduce(o[K], x, y, map, o[P], c0, c1); break;
    case MATMUL:
      if (!o[WHICH]) product(product_of(o, a, false), share);
      break;
    case RESAMPLE: resample(resampling_of(o, run.program.table), x, y, static_cast<float>(f[0]), c0, c1); break;
    case VALUE: {
      const float* from = o[WEIGHT] >= 0 ? run.call.parameters + o[WEIGHT] : run.call.state + o[STATE];
      for (int64_t j = j0; j < j1; ++j) y[j] = splat(from[j]);
      break;
    }
  }
}

static void tensor_backward(const Run& run, const int64_t* o, const double* f, V* a, float* slot, Share share) {
  const int32_t* map = run.program.table + o[ROW_MAP];
  const V *x = a + o[X], *y = a + o[Y], *dy = a + o[DY];
  V* dx = a + o[DX];
  const bool add = o[ACCUMULATE] != 0;
  const int64_t c0 = share.begin(o[C]), c1 = share.end(o[C]), j0 = share.begin(o[COUNT]), j1 = share.end(o[COUNT]);
  switch (o[KIND]) {
    case COPY:
      for (int64_t j = j0; j < j1; ++j) put(dx + j, static_cast<float>(f[0]) * dy[j], add);
      break;
    case MOVE:
      if (o[WHICH]) {
        for (int64_t j = j0; j < j1; ++j) put(dx + j, dy[map[j]], add);
        break;
      }
      if (!add) memset(dx, 0, o[H] * sizeof(V));
      gather_backward(dy, dx, map, o[COUNT]);
      break;
    case PAIR: {
      const V* second = a + o[SECOND];
      pair_backward(o[K], o[FUSED_RELU] != 0, o[WHICH] != 0, o[WHICH] ? second : x, o[WHICH] ? x : second, y, dy, dx, add, j0, j1);
      break;
    }
    case REDUCE: reduce_backward(o[K], x, y, dy, dx, map, o[P], add, c0, c1); break;
    case MATMUL: product(product_of(o, a, true), share); break;
    case RESAMPLE: resample_backward(resampling_of(o, run.program.table), dy, dx, add, c0, c1); break;
    case VALUE:
      for (int64_t j = j0; j < j1; ++j) slot[o[WEIGHT] + j] += horizontal_sum(dy[j]);
      break;
  }
}
