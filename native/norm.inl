// Batch normalization's sums over the whole batch, between two segments: partial sums a micro-batch, added up in order
// in double. Included by executor.cpp inside the namespace of one instruction set.

// Sums of one micro-batch for the batch norm in hand. pass 0: Σx; 1: Σ(x − mean)²; 2: Σdy and Σdy·x̂.
static void sums_task(int64_t mb, int64_t, void* context) {
  const Run& run = *static_cast<Run*>(context);
  const int64_t* o = run.row(run.op);
  const V *x = run.arena_of(mb, 0) + o[X], *dy = run.arena_of(mb, 0) + o[DY];
  const float* batch = run.statistics + o[STATISTICS];
  double* out = run.sums + mb * run.widest * 2;
  for (int64_t c = 0; c < o[C]; ++c) {
    V first{}, second{};
    for (int64_t j = c * o[P]; j < (c + 1) * o[P]; ++j) {
      if (run.pass == 0) {
        first += x[j];
      } else if (run.pass == 1) {
        const V away = x[j] - batch[c];
        first += away * away;
      } else {
        first += dy[j];
        second += dy[j] * ((x[j] - batch[c]) * batch[o[C] + c]);
      }
    }
    double a = 0.0, b = 0.0;
    for (int l = 0; l < run.valid(mb); ++l) a += first[l], b += second[l];
    out[c] = a;
    out[o[C] + c] = b;
  }
}

static double total_of(const Run& run, int64_t at) {
  double total = 0.0;
  for (int64_t mb = 0; mb < run.micro_batches; ++mb) total += run.sums[mb * run.widest * 2 + at];
  return total;
}

static void normalize_batch(Run& run, int64_t op) {
  const int64_t* o = run.row(op);
  const double* f = run.program.floats + op * FLOATS;
  const double count = static_cast<double>(run.call.n * o[P]);
  float* batch = run.statistics + o[STATISTICS];
  run.op = op;
  for (run.pass = 0; run.pass < 2; ++run.pass) {
    parallel(run.micro_batches, run.call.threads, sums_task, &run);
    for (int64_t c = 0; c < o[C]; ++c) {
      const double mean = total_of(run, c) / count;
      if (run.pass == 0) batch[c] = static_cast<float>(mean);
      else {
        batch[o[C] + c] = static_cast<float>(1.0 / sqrt(mean + f[0]));
        batch[2 * o[C] + c] = static_cast<float>(mean);  // the variance, until the running ones have moved
      }
    }
  }
}

// running ← (1 − momentum)·running + momentum·batch, only once the loss proved finite.
static void move_running(const Run& run) {
  for (int64_t i = 0; i < run.program.n_ops; ++i) {
    const int64_t* o = run.row(i);
    if (o[KIND] != BATCHNORM) continue;
    const double momentum = run.program.floats[i * FLOATS + 1], count = static_cast<double>(run.call.n * o[P]);
    const double unbiased = count / (count > 2.0 ? count - 1.0 : 1.0);
    float *mean = run.call.state + o[STATE], *var = mean + o[C];
    const float* batch = run.statistics + o[STATISTICS];
    for (int64_t c = 0; c < o[C]; ++c) {
      mean[c] = static_cast<float>((1.0 - momentum) * mean[c] + momentum * batch[c]);
      var[c] = static_cast<float>((1.0 - momentum) * var[c] + momentum * unbiased * batch[2 * o[C] + c]);
    }
  }
}

static void normalize_batch_backward(Run& run, int64_t op) {
  const int64_t* o = run.row(op);
  const double count = static_cast<double>(run.call.n * o[P]);
  float* batch = run.statistics + o[STATISTICS];
  run.op = op;
  run.pass = 2;
  parallel(run.micro_batches, run.call.threads, sums_task, &run);
  for (int64_t c = 0; c < o[C]; ++c) {
    const double dbias = total_of(run, c), dweight = total_of(run, o[C] + c);
    batch[2 * o[C] + c] = static_cast<float>(dbias / count);
    batch[3 * o[C] + c] = static_cast<float>(dweight / count);
    run.slot[o[BIAS] + c] += static_cast<float>(dbias);  // slot 0, cleared by the first backward segment
    run.slot[o[WEIGHT] + c] += static_cast<float>(dweight);
  }
}
