// What goes into a micro-batch and comes out of it: images, as floats or as bytes with shifts and flips; scores; the loss
// and its gradient. Included by executor.cpp inside the namespace of one instruction set.

struct Draw {
  int64_t down, across;
  bool mirrored;
};

// Purposes 3 (shift) and 4 (flip) of philox.py, keyed by the image's index in its data set.
static Draw draw_of(const Feed& feed, int64_t image) {
  const auto words = [&](uint32_t purpose, uint32_t out[4]) {
    const uint32_t counter[4] = {0, static_cast<uint32_t>(image), static_cast<uint32_t>(feed.epoch), purpose};
    philox(counter, feed.seed, out);
  };
  Draw found{0, 0, false};
  uint32_t out[4];
  if (feed.shift) {
    words(3, out);
    const auto offset = [&](uint32_t word) {
      const auto places = static_cast<float>(2 * feed.shift + 1);
      const auto at = static_cast<int64_t>(static_cast<float>(word >> 8) * 0x1p-24f * places);
      return (at < 2 * feed.shift ? at : 2 * feed.shift) - feed.shift;
    };
    found.down = offset(out[0]);
    found.across = offset(out[1]);
  }
  if (feed.flip) {
    words(4, out);
    found.mirrored = static_cast<float>(out[0] >> 8) * 0x1p-24f < 0.5f;
  }
  return found;
}

// Row `at` of one channel of an image as the network reads it, border included.
static void fed_row(const Feed& feed, const uint8_t* plane, const float* level, const Draw& draw, int64_t at, float* to) {
  const int64_t full = feed.width + 2 * feed.border, row = at - feed.border + draw.down;
  for (int64_t w = 0; w < full; ++w) to[w] = level[0];
  if (at < feed.border || at >= feed.border + feed.height || row < 0 || row >= feed.height) return;
  const uint8_t* from = plane + row * feed.width;
  const int64_t begin = draw.across < 0 ? -draw.across : 0;
  const int64_t end = draw.across > 0 ? feed.width - draw.across : feed.width;
  float* line = to + feed.border;
  if (draw.mirrored)
    for (int64_t w = begin; w < end; ++w) line[feed.width - 1 - w] = level[from[w + draw.across]];
  else
    for (int64_t w = begin; w < end; ++w) line[w] = level[from[w + draw.across]];
}

static void fill_fed(const Run& run, V* a, int64_t micro_batch) {
  const Feed& feed = run.call.feed;
  const int64_t full_h = feed.height + 2 * feed.border, full_w = feed.width + 2 * feed.border;
  const int64_t together = WIDEST_FED / full_w;  // rows
  alignas(64) float rows[L * WIDEST_FED];
  const uint8_t* image[L];
  Draw draws[L];
  const float* starts[L];
  for (int l = 0; l < L; ++l) {
    const int64_t at = micro_batch * L + l, index = feed.chosen[at < run.call.n ? at : run.call.n - 1];
    image[l] = feed.images + index * feed.channels * feed.height * feed.width;
    draws[l] = draw_of(feed, index);
    starts[l] = rows + l * WIDEST_FED;
  }
  V* to = a + run.program.inputs[0].place;
  for (int64_t c = 0; c < feed.channels; ++c)
    for (int64_t h = 0; h < full_h; h += together) {
      const int64_t end = h + together < full_h ? h + together : full_h;
      for (int l = 0; l < L; ++l)
        for (int64_t at = h; at < end; ++at)
          fed_row(feed, image[l] + c * feed.height * feed.width, feed.levels + c * 256, draws[l], at,
                  rows + l * WIDEST_FED + (at - h) * full_w);
      gather_lanes(starts, to, (end - h) * full_w);
      to += (end - h) * full_w;
    }
}

// Lanes beyond the batch repeat its last image: finite wherever the batch is, and their gradients are 0.
static void fill(const Run& run, V* a, int64_t micro_batch) {
  if (run.call.feed.images) return fill_fed(run, a, micro_batch);
  const float* images[L];
  for (int l = 0; l < L; ++l) {
    const int64_t image = micro_batch * L + l;
    images[l] = run.call.x + (image < run.call.n ? image : run.call.n - 1) * run.program.inputs[0].vectors;
  }
  gather_lanes(images, a + run.program.inputs[0].place, run.program.inputs[0].vectors);
}

static void read_scores(const Run& run, const V* a, int64_t micro_batch) {
  const float* from = reinterpret_cast<const float*>(a + run.program.outputs[0].place);
  const int64_t features = run.program.outputs[0].vectors;
  for (int l = 0; l < run.valid(micro_batch); ++l)
    for (int64_t i = 0; i < features; ++i)
      run.call.scores[(micro_batch * L + l) * features + i] = from[i * L + l];
}

static void loss_gradient(const Run& run, V* a, int64_t micro_batch) {
  const float* s = reinterpret_cast<const float*>(a + run.program.outputs[0].place);
  float* ds = reinterpret_cast<float*>(a + run.program.outputs[0].gradient);
  const int64_t features = run.program.outputs[0].vectors;
  const double count = static_cast<double>(run.call.n), parameter = run.call.loss_parameter;
  memset(ds, 0, features * sizeof(V));
  for (int l = 0; l < run.valid(micro_batch); ++l) {
    const int64_t image = micro_batch * L + l;
    const int64_t label = run.call.labels ? run.call.labels[image] : -1;
    const float* wanted = run.call.targets ? run.call.targets + image * features : nullptr;
    double value = 0.0;
    if (run.call.loss == CROSS_ENTROPY) {
      double most = s[l], total = 0.0;
      for (int64_t i = 1; i < features; ++i) if (s[i * L + l] > most) most = s[i * L + l];
      for (int64_t i = 0; i < features; ++i) total += exp(s[i * L + l] - most);
      const double log_total = log(total), spread = parameter / static_cast<double>(features);
      const auto truth_at = [&](int64_t i) {
        return spread + (wanted ? (1.0 - parameter) * wanted[i] : i == label ? 1.0 - parameter : 0.0);
      };
      double sum = 1.0;  // of a row; one of floats need not add up to 1 in the last digits
      if (wanted) {
        sum = 0.0;
        for (int64_t i = 0; i < features; ++i) sum += truth_at(i);
      }
      for (int64_t i = 0; i < features; ++i) {
        const double truth = truth_at(i), log_p = s[i * L + l] - most - log_total;
        if (truth != 0.0) value -= truth * log_p;
        ds[i * L + l] = static_cast<float>((exp(log_p) * sum - truth) / count);
      }
    } else if (run.call.loss == HINGE) {
      double violated = 0.0;
      for (int64_t i = 0; i < features; ++i) {
        if (i == label) continue;
        const float margin = s[i * L + l] - s[label * L + l] + static_cast<float>(parameter);
        if (margin > 0.0f) {
          value += margin;
          violated += 1.0;
          ds[i * L + l] = static_cast<float>(1.0 / count);
        } else if (margin != margin) {
          value = margin;
        }
      }
      ds[label * L + l] = static_cast<float>(-violated / count);
    } else {
      const double size = static_cast<double>(features);
      for (int64_t i = 0; i < features; ++i) {
        const double target = wanted ? wanted[i] : (i == label ? 1.0 : 0.0);
        const double difference = s[i * L + l] - target;
        value += difference * difference / size;
        ds[i * L + l] = static_cast<float>(2.0 * difference / (count * size));
      }
    }
    run.call.losses[image] = value;
  }
}
