// Images, as floats or as bytes with shifts and flips, into lanes; outputs out of them; gradients the other way. Turning lanes round is a kernel (`gather`).
#include "io.h"

#include <string.h>

#include "kernels/table.h"
#include "philox.h"

namespace striate {
namespace {

struct Draw {
  int64_t down, across;
  bool mirrored;
};

// Purposes 3 (shift) and 4 (flip) of philox.py, keyed by the image's index in its data set.
Draw draw_of(const Feed& feed, int64_t image) {
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
void fed_row(const Feed& feed, const uint8_t* plane, const float* level, const Draw& draw, int64_t at, float* to) {
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

void fill_fed(const At& at) {
  const Feed& feed = at.run.call.feed;
  const int lanes = at.run.lanes;
  const int64_t full_h = feed.height + 2 * feed.border, full_w = feed.width + 2 * feed.border;
  const int64_t together = WIDEST_FED / full_w;  // rows
  alignas(64) float rows[MOST_LANES * WIDEST_FED];
  const uint8_t* image[MOST_LANES];
  Draw draws[MOST_LANES];
  const float* starts[MOST_LANES];
  for (int l = 0; l < lanes; ++l) {
    const int64_t own = at.micro_batch * lanes + l, index = feed.chosen[own < at.run.call.n ? own : at.run.call.n - 1];
    image[l] = feed.images + index * feed.channels * feed.height * feed.width;
    draws[l] = draw_of(feed, index);
    starts[l] = rows + l * WIDEST_FED;
  }
  float* to = at.arena + at.run.program.inputs[0].place * lanes;
  for (int64_t c = 0; c < feed.channels; ++c)
    for (int64_t h = 0; h < full_h; h += together) {
      const int64_t end = h + together < full_h ? h + together : full_h;
      for (int l = 0; l < lanes; ++l)
        for (int64_t row = h; row < end; ++row)
          fed_row(feed, image[l] + c * feed.height * feed.width, feed.levels + c * 256, draws[l], row,
                  rows + l * WIDEST_FED + (row - h) * full_w);
      at.run.kernels.gather(starts, to, (end - h) * full_w);
      to += (end - h) * full_w * lanes;
    }
}

}  // namespace

namespace {

// A single image, number by number.
void copy_in(const At& at) {
  for (int64_t i = 0; i < at.run.program.n_inputs; ++i) {
    const Port& port = at.run.program.inputs[i];
    memcpy(at.arena + port.place * at.run.lanes, at.run.call.x[i] + at.micro_batch * port.vectors, static_cast<size_t>(port.vectors) * sizeof(float));
  }
}

}  // namespace

// Lanes beyond the batch repeat its last image: finite wherever the batch is, and their gradients are 0.
void fill(const At& at) {
  const Run& run = at.run;
  if (run.call.feed.images) return fill_fed(at);
  if (run.program.frame.single) return copy_in(at);
  for (int64_t i = 0; i < run.program.n_inputs; ++i) {
    const Port& port = run.program.inputs[i];
    const float* images[MOST_LANES];
    for (int l = 0; l < run.lanes; ++l) {
      const int64_t image = at.micro_batch * run.lanes + l;
      images[l] = run.call.x[i] + (image < run.call.n ? image : run.call.n - 1) * port.vectors;
    }
    run.kernels.gather(images, at.arena + port.place * run.lanes, port.vectors);
  }
}

namespace {

// (count) vectors → one row (count) of each image.
void scatter(const At& at, const float* from, float* to, int64_t count) {
  const int64_t lanes = at.run.lanes;
  for (int64_t l = 0; l < at.images; ++l) {
    float* row = to + (at.micro_batch * lanes + l) * count;
    for (int64_t i = 0; i < count; ++i) row[i] = from[i * lanes + l];
  }
}

}  // namespace

void read_outputs(const At& at) {
  for (int64_t i = 0; i < at.run.program.n_outputs; ++i) {
    const Port& port = at.run.program.outputs[i];
    if (at.run.program.frame.single)
      memcpy(at.run.call.outputs[i] + at.micro_batch * port.vectors, at.arena + port.place * at.run.lanes, static_cast<size_t>(port.vectors) * sizeof(float));
    else
      scatter(at, at.arena + port.place * at.run.lanes, at.run.call.outputs[i], port.vectors);
  }
}

void load_gradients(const At& at) {
  const Program& program = at.run.program;
  const int64_t lanes = at.run.lanes;
  // Two outputs may lie in one place, where one is a view of the other: so all are cleared, and then added to.
  for (int64_t i = 0; i < program.n_outputs; ++i)
    memset(at.arena + program.outputs[i].gradient * lanes, 0, static_cast<size_t>(program.outputs[i].vectors * lanes) * sizeof(float));
  for (int64_t i = 0; i < program.n_outputs; ++i) {
    if (!at.run.call.d_outputs[i]) continue;
    const int64_t count = program.outputs[i].vectors;
    float* to = at.arena + program.outputs[i].gradient * lanes;
    for (int64_t l = 0; l < at.images; ++l) {
      const float* row = at.run.call.d_outputs[i] + (at.micro_batch * lanes + l) * count;
      for (int64_t j = 0; j < count; ++j) to[j * lanes + l] += row[j];
    }
  }
}

void read_input_gradients(const At& at) {
  for (int64_t i = 0; i < at.run.program.n_inputs; ++i) {
    const Port& port = at.run.program.inputs[i];
    if (at.run.call.d_inputs[i]) scatter(at, at.arena + port.gradient * at.run.lanes, at.run.call.d_inputs[i], port.vectors);
  }
}

}  // namespace striate
