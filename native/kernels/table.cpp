// The kernels of one instruction set, and its row of the table. The only unit that is compiled once per set: with STRIATE_ISA (a
// namespace), STRIATE_ISA_NAME, STRIATE_LANES and the set's own flags.
//
// Promises: every program that verify.cpp lets through; no allocation, no exception, no static state; no function that another
// set's unit could be linked with.
#include "table.h"

#include "channels/conv.h"
#include "channels/depthwise.h"
#include "channels/norm.h"
#include "channels/pool.h"
#include "channels/relayout.h"
#include "channels/vectors.h"
#include "channels/winograd.h"
#include "lanes/batch_norm.h"
#include "lanes/combine.h"
#include "lanes/conv.h"
#include "lanes/linear.h"
#include "lanes/loss.h"
#include "lanes/move.h"
#include "lanes/norm.h"
#include "lanes/pointwise.h"
#include "lanes/pool.h"
#include "lanes/winograd.h"
#include "muon.h"
#include "simd.h"
#include "update.h"

namespace striate::STRIATE_ISA {

template <class O>
static const O& as(const void* fields) {
  return *static_cast<const O*>(fields);
}

// What an op's header may leave out: it packs nothing, and has one stage in each direction.
template <class O>
concept Prepared = requires(const Program& program, const O& o, float* packed) { prepare(program, o, packed, packed); };
template <class O>
static Stages forward_stages(const O&, int) { return {0, 1}; }
template <class O>
static Stages backward_stages(const O&) { return {0, 1}; }

// What has a backward pass.
template <class O>
concept Reversible = requires(const O& o) { o.dx; };

// Where no dx is wanted, only ops with parameters of their own have anything to do backward.
template <class O>
concept Learns = requires(const O& o) { o.weight; };

template <class O, class... Any>
constexpr bool is_one_of = (__is_same(O, Any) || ...);

template <class O>
static constexpr OpKernels kernels_of() {
  OpKernels row{};
  if constexpr (Prepared<O>)
    row.prepare = [](const Program& program, const void* o, const float* parameters, float* packed) {
      prepare(program, as<O>(o), parameters, packed);
    };
  row.forward_stages = [](const void* o, int images) { return forward_stages(as<O>(o), images); };
  row.forward = [](const At& at, const void* o) { forward(at, as<O>(o)); };
  if constexpr (Reversible<O>) {
    row.backward_stages = [](const void* o) { return backward_stages(as<O>(o)); };
    row.backward = [](const At& at, const void* o) {
      if (Learns<O> || as<O>(o).dx >= 0) backward(at, as<O>(o));
    };
  }
  row.forward_alone = is_one_of<O, Softmax, ResponseNorm, ChannelSoftmax>;
  row.backward_alone = is_one_of<O, Softmax, ResponseNorm, Move, Prelu>;
  return row;
}

static void gather(const float* const* images, float* to, int64_t count) {
  const float* lanes[L];
  for (int l = 0; l < L; ++l) lanes[l] = images[l];
  gather_lanes(lanes, reinterpret_cast<V*>(to), count);
}

// The machine's limit, to hold kernels against: chains enough to hide a multiply-add's latency, nothing read or written.
static double multiply_adds(int64_t count) {
  constexpr int CHAINS = 10;
  V acc[CHAINS];
  for (int i = 0; i < CHAINS; ++i) acc[i] = splat(static_cast<float>(i));
  V factor = splat(0.5f), term = splat(0.25f);
  for (int64_t n = 0; n < count; n += CHAINS) {
#pragma GCC unroll 10
    for (int i = 0; i < CHAINS; ++i) acc[i] = acc[i] * factor + term;
  }
  V sum{};
  for (int i = 0; i < CHAINS; ++i) sum += acc[i];
  return horizontal_sum(sum);
}

template <class... O>
static constexpr Kernels row_of(StructList<O...>) {
  static_assert(L <= MOST_LANES);
  return {STRIATE_ISA_NAME,
          L,
          {kernels_of<O>()...},
          gather,
          loss_gradient,
          {KB, neurons_forward, neurons_backward, linear_weights, linear_together},
          {norm_sums, norm_statistics, norm_statistics_back, norm_running},
          {reduce_slots, update_parameters, clip_gradients},
          {muon_square, muon_product},
          multiply_adds};
}

extern const Kernels kernels;
constinit const Kernels kernels = row_of(Structs{});

}  // namespace striate::STRIATE_ISA
