// The contract between the bindings and the executor of each instruction set.
//
// One image a SIMD lane: an activation (C, H, W) of a micro-batch is C·H·W vectors of L floats. A program is plain
// numbers (see plan/rows.py and plan/lanes.py, which write it): one row of 64-bit integers an op, and one table of 32-bit integers
// for maps, offsets and packing. **Rows and table are trusted**: nothing here checks that an offset or a map stays within the
// work memory, and one that does not is read and written all the same. Only plan/lanes.py may write them; sizes of arrays are
// checked (bindings.cpp). Everything here is plain data, because this header is compiled once per instruction
// set and no function compiled for one may be linked into another.
#pragma once
#include <cstddef>
#include <cstdint>

namespace striate {

enum Kind : int64_t {
  CONV = 0, LINEAR = 1, MAXPOOL = 2, AVGPOOL = 3, RELU = 4, LEAKY = 5, SIGMOID = 6, TANH = 7, SOFTMAX = 8,
  DROPOUT = 9, BATCHNORM = 10, LRN = 11, COPY = 12, CURVE = 13, MOVE = 14, PAIR = 15, REDUCE = 16, MATMUL = 17,
  RESAMPLE = 18, PRELU = 19, INSTANCENORM = 20, LPPOOL = 21, VALUE = 22,
};

// Columns of an op's row. Offsets into the arena count vectors; -1 means "none".
enum Column : int {
  KIND = 0, X, Y, DX, DY, ACCUMULATE,           // ACCUMULATE: dx is added to, not written
  COUNT,                                        // elementwise: vectors (CURVE: K says which); COPY: vectors
  SPECIFIC,                                     // the rest depends on the kind
  C = SPECIFIC, H, W, K, P, Q,                  // window ops and LINEAR (C in, K out), SOFTMAX, BATCHNORM, LRN
  R, S, STRIDE_H, STRIDE_W, GROUPS, FUSED_RELU,
  WEIGHT, BIAS,                                 // offsets in the flat parameters; -1: none
  EXPANDED, HE, WE, ROW_MAP, COL_MAP,           // CONV, pools: x laid out as the windows read it; maps in the table
  TAPS, PACK, PACKED,                           // CONV: tap offsets, index of packed weights, and where they are packed
  BACK_SCRATCH, BACK_H, BACK_W, BACK_ROW_MAP, BACK_COL_MAP, BACK_TAPS, BACK_PACK, BACK_PACKED,
  BACK_STRIDE_H, BACK_STRIDE_W, BACK_OUT, BACK_P, BACK_Q,
  STATE, STATISTICS, INDEX, COUNTS, KEPT,       // BATCHNORM: running statistics; DROPOUT: op index; AVGPOOL: divisors;
                                                // LINEAR: floats an image kept before it
  READS_INPUT, BY_NEURONS,                      // LINEAR: x is the network's input; threads take neurons, not images
  GHOST,                                        // BATCHNORM: images of a group, or 0 for the whole batch
  PAIRS,                                        // MAXPOOL: 2×2 windows at stride 2 without padding
  // CONV and the pool after it, when the pool's winners alone go backward (winners.inl): images laid out one by one,
  // IMAGE_ROWS rows of IMAGE_WIDTH floats; runs of a filter row; dw's index; scratch. DY is lists of winners.
  WINNERS, IMAGE_ROWS, IMAGE_WIDTH, IMAGE_ROW_MAP, IMAGE_COL_MAP, IMAGE_PITCH, IMAGE_RUN, IMAGE_INDEX, IMAGE_X, IMAGE_DX, IMAGE_DW, IMAGE_ORDER,
  DX_WIDTH, DX_COL_MAP, DX_PITCH, DX_RUN, DX_INDEX,                  // the same of dx, whose pixels lie further apart
  // CONV of a micro-batch with few images (images.inl): where their weights are packed, from which index; x and y image
  // by image; y's map. FEW_INDEX 0: never.
  FEW_PACKED, FEW_INDEX, FEW_LANES, FEW_RUN, FEW_X, FEW_Y, FEW_COL_MAP,
  POOLED, FEW_WHOLE,                            // CONV in inference: y is that of the 2×2 pool after it; y before that
  // PAIR, MATMUL: another buffer read, and which input x is (1: the second; the row only makes its gradient). MOVE: WHICH 1
  // if the map says where each x goes, not where each y comes from. The columns above are used so: PAIR, REDUCE, CURVE K
  // what is computed; MOVE, REDUCE, PRELU ROW_MAP the map; REDUCE C outputs of P numbers each; MATMUL GROUPS times
  // (P, C)·(C, Q); RESAMPLE (C, H, W) → (C, P, W) by TAPS, PACK and COUNTS (starts, places, the bits of shares); SOFTMAX K 1:
  // its logarithm; VALUE WEIGHT or STATE.
  SECOND, WHICH,
  COLUMNS
};
// FUSED_RELU of a convolution whose only reader, a pool of pairs, takes dy through the ReLU and sums the bias for it.
constexpr int64_t RELU_DONE = 2;
constexpr int FLOATS = 4;                       // floating-point constants an op
// Places that a training step's gradients are first added up in, reduced in order: what the bits of a result rest on, so that
// threads may be any number; and the most threads that a training step keeps busy.
constexpr int64_t SLOTS = 8;
constexpr int64_t POOLED_WIDTH = 64;            // outputs in a row of a CONV that is POOLED, at most

struct Program {
  const int64_t* ops;
  const double* floats;
  int64_t n_ops;
  const int32_t* table;
  int64_t arena_vectors, input, input_vectors, output, output_vectors, d_output;
  int64_t packed_floats, parameters, states, statistics;
  int64_t kept;                                 // floats an image that fully connected layers keep of a round
  int64_t ranges, n_ranges;                     // parameters that go through slots: (begin, end) pairs in the table
};

struct Optimizer {
  int64_t formula;                              // 0 none (gradients only), 1 SGD, 2 Adagrad, 3 RMSprop, 4 Adadelta, 5 Adam
  double rate, weight_decay, clip_norm, clip_value, a, b, epsilon;   // a, b: momentum, decays
  int64_t step, decoupled, nesterov;
  const uint8_t* decay_mask;
  float *first, *second;                        // state vectors, or null
};

// Images that stay bytes until a micro-batch is filled: image `chosen[i]` of (count, channels, height, width), moved by up
// to `shift` pixels, mirrored or not, each byte looked up in its channel's 256 levels, a border of level[0] around it.
// The draws are those of data/pipeline.py.
struct Feed {
  const uint8_t* images;                        // null: Call.x holds floats
  const int64_t* chosen;
  const float* levels;                          // (channels, 256)
  int64_t channels, height, width, border, shift, flip, epoch;
  uint64_t seed;
};
constexpr int64_t WIDEST_FED = 1024;            // columns of an image that can be fed so

struct Call {
  const float* x;                               // (n, features)
  Feed feed;
  int64_t n;
  const int64_t* labels;                        // or null
  const float* targets;                         // or null
  int64_t loss;                                 // 0 none, 1 cross-entropy, 2 hinge, 3 mean squared error
  double loss_parameter;
  float *parameters, *gradients, *state;
  float* scores;                                // (n, output features)
  double* losses;                               // (n)
  int64_t training, threads;
  uint64_t seed;
  int64_t step;
  Optimizer optimizer;
  void* arena;                                  // one piece of memory, aligned; see workspace_bytes
  double* seconds;                              // or null: of each op, forward and backward, added up; one thread
};

// What an instruction set offers.
struct Isa {
  const char* name;
  int lanes;
  int64_t (*workspace_bytes)(const Program&, int64_t n, int64_t threads, int64_t training);  // -1: more than 2⁶³ − 1
  double (*run)(const Program&, const Call&);   // returns the mean loss
  double (*multiply_adds)(int64_t);             // so many independent vector multiply-adds, in registers: their sum
};

// Run task(i, thread, context) for i = 0 … tasks−1 on up to `threads` threads, the caller's among them; returns when all are
// done. No two tasks that run at once are told the same `thread`, which is less than `threads`.
using Task = void (*)(int64_t index, int64_t thread, void* context);
void parallel(int64_t tasks, int64_t threads, Task task, void* context);
// Run task(t, …) for t = 0 … threads−1, each on thread t if that one comes: what a thread does in one such region lies in its
// cache for the next. Another does it for one that sleeps.
void on_each(int64_t threads, Task task, void* context);

}  // namespace striate
