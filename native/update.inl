// Slots reduced to one gradient in order, clipping, and the optimizers' steps, in chunks. Formulas are those of
// training/optimizers.py. Included by executor.cpp inside the namespace of one instruction set.

constexpr int64_t CHUNK = 4096;

static void reduce_task(int64_t index, int64_t, void* context) {
  const Run& run = *static_cast<Run*>(context);
  const int64_t total = run.program.parameters, first = index * CHUNK, last = first + CHUNK;
  const int32_t* range = run.program.table + run.program.ranges;
  float* __restrict g = run.call.gradients;
  for (int64_t r = 0; r < run.program.n_ranges; ++r, range += 2) {
    const int64_t begin = range[0] > first ? range[0] : first, end = range[1] < last ? range[1] : last;
    if (begin >= end) continue;
    memcpy(g + begin, run.slot + begin, static_cast<size_t>(end - begin) * 4);
    for (int64_t s = 1; s < run.slots; ++s) {
      const float* __restrict slot = run.slot + s * total;
      for (int64_t i = begin; i < end; ++i) g[i] += slot[i];
    }
  }
}

static void update_task(int64_t index, int64_t, void* context) {
  const Run& run = *static_cast<Run*>(context);
  const Optimizer& o = run.call.optimizer;
  const int64_t total = run.program.parameters, begin = index * CHUNK;
  const int64_t end = begin + CHUNK < total ? begin + CHUNK : total;
  float *__restrict w = run.call.parameters, *__restrict g = run.call.gradients;
  float *__restrict m = o.first, *__restrict v = o.second;
  const auto rate = static_cast<float>(o.rate), a = static_cast<float>(o.a), b = static_cast<float>(o.b);
  const auto epsilon = static_cast<float>(o.epsilon), decay = static_cast<float>(o.weight_decay);
  if (decay != 0.0f) {
    for (int64_t i = begin; i < end; ++i) {
      const float shrink = decay * (o.decay_mask[i] ? w[i] : 0.0f);
      w[i] -= o.decoupled ? rate * shrink : 0.0f;
      g[i] += o.decoupled ? 0.0f : shrink;
    }
  }
  switch (o.formula) {
    case 1:
      if (!m) {
        for (int64_t i = begin; i < end; ++i) w[i] -= rate * g[i];
      } else {
        const float ahead = o.nesterov ? a : 1.0f, own = o.nesterov ? 1.0f : 0.0f;
        for (int64_t i = begin; i < end; ++i) {
          m[i] = a * m[i] + g[i];
          w[i] -= rate * (own * g[i] + ahead * m[i]);
        }
      }
      break;
    case 2:
      for (int64_t i = begin; i < end; ++i) {
        m[i] += g[i] * g[i];
        w[i] -= rate * g[i] / (sqrtf(m[i]) + epsilon);
      }
      break;
    case 3:
      for (int64_t i = begin; i < end; ++i) {
        m[i] = a * m[i] + (1.0f - a) * g[i] * g[i];
        w[i] -= rate * g[i] / (sqrtf(m[i]) + epsilon);
      }
      break;
    case 4:
      for (int64_t i = begin; i < end; ++i) {
        m[i] = a * m[i] + (1.0f - a) * g[i] * g[i];
        const float delta = sqrtf(v[i] + epsilon) / sqrtf(m[i] + epsilon) * g[i];
        v[i] = a * v[i] + (1.0f - a) * delta * delta;
        w[i] -= rate * delta;
      }
      break;
    case 5: {
      const auto size = static_cast<float>(o.rate / (1.0 - pow(o.a, static_cast<double>(o.step))));
      const auto root = static_cast<float>(sqrt(1.0 - pow(o.b, static_cast<double>(o.step))));
      for (int64_t i = begin; i < end; ++i) {
        m[i] = a * m[i] + (1.0f - a) * g[i];
        v[i] = b * v[i] + (1.0f - b) * g[i] * g[i];
        w[i] -= size * m[i] / (sqrtf(v[i]) / root + epsilon);
      }
      break;
    }
  }
}

static void clip(const Run& run) {
  const Optimizer& o = run.call.optimizer;
  float* g = run.call.gradients;
  const int64_t total = run.program.parameters;
  if (o.clip_value > 0.0) {
    const auto most = static_cast<float>(o.clip_value);
    for (int64_t i = 0; i < total; ++i) g[i] = g[i] > most ? most : g[i] < -most ? -most : g[i];
  }
  if (o.clip_norm > 0.0) {
    double squares = 0.0;
    for (int64_t i = 0; i < total; ++i) squares += static_cast<double>(g[i]) * g[i];
    const double norm = sqrt(squares);
    if (norm > o.clip_norm)
      for (int64_t i = 0; i < total; ++i) g[i] *= static_cast<float>(o.clip_norm / norm);
  }
}
