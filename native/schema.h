// The contract: what each op of a program says to the executor, one struct a kind. Python makes these very structs
// (bindings.cpp) and fills them by name; verify.cpp proves that what they say lies inside the program before it is run.
//
// Every field is 64 bits wide, and NONE or NaN until it is said. Places x, y, dx, dy and scratch are offsets in the arena, in vectors; maps, orders and offsets
// lie in the table of 32-bit integers; weight, bias and state are offsets in the parameters and the running statistics, in
// floats; packed weights in the memory for those. NONE: there is none.
//
// Plain data: this header is compiled once per instruction set too, and no function compiled for one may be linked into another.
#pragma once
#include <cstdint>

namespace striate {

constexpr int64_t NONE = -1;

// What the kinds are; KINDS is their number. The order is that of the structs below.
enum class Kind : int64_t {
  CONV, WINOGRAD, LINEAR, MAX_POOL, AVERAGE_POOL, POWER_POOL, RELU, LEAKY_RELU, SIGMOID, TANH, CURVE, SOFTMAX, DROPOUT, BATCH_NORM,
  INSTANCE_NORM, RESPONSE_NORM, PRELU, COPY, MOVE, PAIR, REDUCE, MATMUL, RESAMPLE, VALUE,
  RELAYOUT, CHANNEL_CONV, CHANNEL_WINOGRAD, CHANNEL_DEPTHWISE, CHANNEL_MAX_POOL, CHANNEL_AVERAGE_POOL, CHANNEL_LINEAR,
  CHANNEL_SOFTMAX, CHANNEL_RESPONSE_NORM, KINDS
};

// Functions of one number (lanes/curves.h); their constants are Curve's a and b.
enum Function : int64_t {
  ELU, HARD_SIGMOID, HARD_SWISH, SOFTPLUS, SOFTSIGN, GELU, GELU_TANH, MISH, CLIP, ABSOLUTE, NEGATE, EXPONENTIAL, LOGARITHM,
  SQUARE_ROOT, CELU, FUNCTIONS
};
constexpr const char* FUNCTION_NAMES[] = {
  "ELU", "HARD_SIGMOID", "HARD_SWISH", "SOFTPLUS", "SOFTSIGN", "GELU", "GELU_TANH", "MISH", "CLIP", "ABSOLUTE", "NEGATE",
  "EXPONENTIAL", "LOGARITHM", "SQUARE_ROOT", "CELU",
};
static_assert(sizeof(FUNCTION_NAMES) / sizeof(*FUNCTION_NAMES) == FUNCTIONS);
enum Pairing : int64_t { PRODUCT, QUOTIENT, POWER, LARGER, SMALLER, TOTAL, PAIRINGS };
enum Reduction : int64_t { SUM, MEAN, MOST, WHERE, WHERE_LAST, REDUCTIONS };
enum Loss : int64_t { NO_LOSS, CROSS_ENTROPY, HINGE, MEAN_SQUARED_ERROR, LOSSES };
enum Formula : int64_t { NO_UPDATE, SGD, ADAGRAD, RMSPROP, ADADELTA, ADAM, FORMULAS };

// A convolution, its ReLU and the 2×2 pool side by side after it, as far as they are fused.
//   x (c, h, w), laid out as windows read it (groups, expanded_h, expanded_w); y (k, p, q), or (k, pool_p, pool_q)
struct Conv {
  int64_t x, y, dx, dy, accumulate;             // accumulate: dx is added to, not written
  int64_t c, h, w, k, p, q, r, s, stride_h, stride_w, groups;
  int64_t weight, bias, relu;
  int64_t expanded, expanded_h, expanded_w, row_map, col_map;      // expanded NONE: x itself is read
  int64_t taps, pack, packed;                   // offsets of a window's taps; order of packed weights, and where they go
  // dx is a convolution of dy, laid out with its stride's gaps, by the filters turned round.
  int64_t back, back_h, back_w, back_row_map, back_col_map, back_taps, back_pack, back_packed;
  int64_t back_stride_h, back_stride_w, back_p, back_q;
  int64_t back_out;                             // a larger image that dx is gathered from, or NONE
  // The pool: made from `map`, what the convolution alone gives, which backward reads too (d_map: its gradient); or, in
  // inference, from each pair of rows in registers.
  int64_t pooled, in_registers, pool_p, pool_q, map, d_map;
  // Backward through the pool's winners alone (kernels/winners.h): images laid out one by one, image_rows rows of image_width
  // floats; runs of a filter row; the index of dw. d_map then holds lists of winners.
  int64_t winners, image_rows, image_width, image_row_map, image_col_map, image_pitch, image_run, image_index;
  int64_t image_x, image_dx, image_dw, image_order;
  int64_t dx_width, dx_col_map, dx_pitch, dx_run, dx_index;        // the same of dx, whose pixels lie further apart
  // A micro-batch of few images (kernels/images.h): index and place of its weights; x and y image by image; y's map. few_index
  // NONE: never.
  int64_t few_index, few_packed, few_lanes, few_run, few_x, few_y, few_col_map;
};

// A convolution of r×r filters, 3 or 5, at stride 1, by Winograd's tiles, its ReLU and its pool (kernels/lanes/winograd.h).
//   x (c, h, w) inside a border of zeros; y (k, p, q), or (k, pool_p, pool_q)
struct Winograd {
  int64_t x, y, dx, dy, accumulate;
  int64_t c, h, w, k, p, q, r, top, left;       // top and left: of the border
  int64_t weight, bias, relu;
  int64_t packed;                               // (36, k / WINOGRAD_PANEL, c, WINOGRAD_PANEL) floats, a gap after each of the 36
  int64_t tiles, back_tiles;                    // of a block, at most: forward, and backward
  int64_t points, products;                     // scratch of a block: of its inputs, and of its outputs
  int64_t turned, upstream;                     // backward: of its inputs, channels in the lanes; of dy
  int64_t d_filters, d_products;                // of dw and of dx
  int64_t pooled, pool_p, pool_q, map, d_map;   // as in Conv; without a backward pass there is no map
};

// y (k) = w (k, c) · x (c) + bias.
struct Linear {
  int64_t x, y, dx, dy, accumulate;
  int64_t c, k, weight, bias, relu;
  int64_t kept;                                 // floats an image that layers before it keep of a round
  int64_t reads_input;                          // which of the network's inputs x is, and need not be kept; NONE
  int64_t by_neurons;                           // in training threads take neurons, not images
  int64_t adds, awaits;                         // shares its weights: with ops before it, with ops after it
};

// Windows by maps: for output p and tap r the input row, or -1. x (c, h, w), y (c, p, q).
struct MaxPool {
  int64_t x, y, dx, dy, accumulate;
  int64_t c, h, w, p, q, r, s, row_map, col_map;
  int64_t pairs;                                // 2×2 windows side by side, without padding
};
struct AveragePool {
  int64_t x, y, dx, dy, accumulate;
  int64_t c, h, w, p, q, r, s, row_map, col_map;
  int64_t counts;                               // (p, q): what each sum is divided by
};
struct PowerPool {                              // (Σ |x|^power)^(1/power)
  int64_t x, y, dx, dy, accumulate;
  int64_t c, h, w, p, q, r, s, row_map, col_map;
  double power;
};

// Elementwise: `count` vectors.
struct Relu { int64_t x, y, dx, dy, accumulate, count; };
struct LeakyRelu { int64_t x, y, dx, dy, accumulate, count; double slope; };
struct Sigmoid { int64_t x, y, dx, dy, accumulate, count; };
struct Tanh { int64_t x, y, dx, dy, accumulate, count; };
struct Curve { int64_t x, y, dx, dy, accumulate, count, function; double a, b; };
struct Dropout {
  int64_t x, y, dx, dy, accumulate, count;
  int64_t index;                                // of the op in its network: keys its draws
  double rate;
};
struct Prelu {
  int64_t x, y, dx, dy, accumulate, count, weight, weights;
  int64_t map;                                  // which weight each number goes by
};

// Over channels: x (c, places).
struct Softmax {
  int64_t x, y, dx, dy, accumulate, c, places;
  int64_t logarithm;
};
struct BatchNorm {
  int64_t x, y, dx, dy, accumulate, c, places;
  int64_t weight, bias, state, relu;            // state: running means, then running variances
  int64_t statistics;                           // floats that norms before it keep of a group
  int64_t ghost;                                // images of a group, or 0 for the whole batch
  int64_t frozen;                               // normalizes by the running statistics, which are constants
  double epsilon, momentum, unbiased;
};
struct InstanceNorm {
  int64_t x, y, dx, dy, accumulate, c, places, weight, bias;
  double epsilon;
};
struct ResponseNorm {
  int64_t x, y, dx, dy, accumulate, c, places, size;
  int64_t squares, through;                     // scratch
  double alpha, beta, k;
};

// Tensors moved about and combined.
struct Copy {
  int64_t x, y, dx, dy, accumulate, count;
  int64_t add;                                  // y is added to
  double factor;
};
struct Move {                                   // y[i] = x[map[i]], or `otherwise` where that is -1
  int64_t x, y, dx, dy, accumulate, count, sources, map;
  int64_t scatter;                              // y[map[i]] = x[i] instead
  int64_t targets;                              // vectors of y
  double otherwise;
};
struct Pair {                                   // y = x ∘ second
  int64_t x, y, dx, dy, accumulate, count, pairing, second, relu;
  int64_t gradient_only;                        // x is the second input: this only makes its gradient
};
struct Reduce {                                 // y[i] of x[map[i, 0]] … x[map[i, each − 1]]
  int64_t x, y, dx, dy, accumulate, outputs, each, sources, reduction, map;
};
struct MatMul {                                 // y (groups, p, q) = x (groups, p, c) · second (groups, c, q)
  int64_t x, y, dx, dy, accumulate, groups, p, c, q, second;
  int64_t gradient_only;
};
struct Resample {                               // along one axis: x (c, h, w) → y (c, p, w)
  int64_t x, y, dx, dy, accumulate, c, h, p, w;
  int64_t starts, places, shares;               // (p + 1), and of each tap its place and the bits of its share
  double otherwise;
};
struct Value {                                  // a tensor of the network's own: of the parameters, or of the state
  int64_t x, y, dx, dy, accumulate, count, weight, state;
};

// ── one image, a channel a lane ──────────────────────────────────────────────────────────────────
// In programs that take images one by one (Frame.single). x_first, in floats, is where an image's first number that counts lies from
// its place; pixels lie `pitch` floats apart, rows `row`. `border`: pixels around y that the op sets to zero. relu: negative numbers
// become 0, and those above `most` become that. second: an image that is added before, or NONE.

// y[c, h, w] = x[c, h, w], each side by its own strides.
struct Relayout {
  int64_t x, y, c, h, w, x_first, x_c, x_h, x_w, y_first, y_c, y_h, y_w;
  int64_t splat;                                // y is a vector for each number, with it in all lanes
  int64_t border, framed;                       // framed: floats of each pixel of the border
};
struct ChannelConv {                            // x_first: of the first window, padding included
  int64_t x, x_first, x_pitch, x_row, y, y_first, y_pitch, y_row, border;
  int64_t c, k, p, q, r, s, stride_h, stride_w, dilation_h, dilation_w, groups, weight, bias, relu;
  double most;
  int64_t second, second_first, second_pitch, second_row, packed;
  int64_t by_filters;                           // threads take filters, not rows
};
struct ChannelWinograd {                        // x_first: of the image itself
  int64_t x, x_first, x_pitch, x_row, y, y_first, y_pitch, y_row, border;
  int64_t c, h, w, k, p, q, kernel, before_h, before_w, weight, bias, relu;
  double most;
  int64_t second, second_first, second_pitch, second_row, packed;
  int64_t pooled;                               // y is (k, p/2, q/2): the largest of each 2×2
  int64_t block;                                // tiles at once
  int64_t staged, points;                       // all tiles are turned first, into `points`; then threads take filters
};
struct ChannelDepthwise {                       // a filter a channel
  int64_t x, x_first, x_pitch, x_row, y, y_first, y_pitch, y_row, border;
  int64_t c, p, q, r, s, stride_h, stride_w, dilation_h, dilation_w, weight, bias, relu;
  double most;
  int64_t packed;
};
struct ChannelMaxPool {                         // x_first: of the image itself, over whose edge windows are cut off
  int64_t x, x_first, x_pitch, x_row, y, y_first, y_pitch, y_row, border;
  int64_t c, h, w, p, q, r, s, stride_h, stride_w, dilation_h, dilation_w, before_h, before_w;
};
struct ChannelAveragePool {
  int64_t x, x_first, x_pitch, x_row, y, y_first, y_pitch, y_row, border;
  int64_t c, h, w, p, q, r, s, stride_h, stride_w, dilation_h, dilation_w, before_h, before_w;
  int64_t counts;
};
struct ChannelLinear {
  int64_t x, y, c, k, weight, bias, relu;
  int64_t together;                             // all images of a round at once, so that weights are read once
};
struct ChannelSoftmax { int64_t x, y, c, logarithm; };
struct ChannelResponseNorm {
  int64_t x, x_first, x_pitch, x_row, y, y_first, y_pitch, y_row, border;
  int64_t c, h, w, size;
  double alpha, beta, k;
};

// All of them, in the kinds' order: what has something for each kind is made from this list.
template <class... T>
struct StructList {
  static_assert(sizeof...(T) == static_cast<int64_t>(Kind::KINDS), "a struct a kind");
};
using Structs = StructList<Conv, Winograd, Linear, MaxPool, AveragePool, PowerPool, Relu, LeakyRelu, Sigmoid, Tanh, Curve, Softmax, Dropout,
                           BatchNorm, InstanceNorm, ResponseNorm, Prelu, Copy, Move, Pair, Reduce, MatMul, Resample, Value,
                           Relayout, ChannelConv, ChannelWinograd, ChannelDepthwise, ChannelMaxPool, ChannelAveragePool, ChannelLinear,
                           ChannelSoftmax, ChannelResponseNorm>;

struct Op {
  Kind kind;
  const void* fields;                           // the struct of that kind
};

// An input or an output of a program: `vectors` of the arena at `place`, and the same of its gradient, or NONE.
struct Port {
  int64_t place, vectors, gradient;
};

// What a program takes as a whole.
struct Frame {
  int64_t training = 0;                         // whether it has a backward pass
  int64_t arena_vectors = 0;
  int64_t packed_floats = 0, parameters = 0, states = 0, statistics = 0;
  int64_t kept = 0;                             // floats an image that fully connected layers keep of a round
  int64_t single = 0;                           // whether images are taken one by one: a micro-batch is one
  int64_t scratch = 0;                          // floats that each thread needs for itself
  int64_t ranges = 0, n_ranges = 0;             // parameters that go through slots: (begin, end) pairs in the table
};

struct Program {
  Frame frame;
  const Port *inputs, *outputs;
  int64_t n_inputs, n_outputs;
  const Op* ops;
  int64_t n_ops;
  const int32_t* table;
  int64_t table_size;
};

// What algorithms are made for; plans keep to it.
constexpr int64_t SLOTS = 8;                    // that gradients are added up in; and the most threads that a training step keeps busy
constexpr int64_t POOLED_WIDTH = 64;            // outputs in a row of a Conv pooled in registers, at most
constexpr int64_t RUN = 16;                     // floats that runs, and channels in lanes, are rounded up to
constexpr int64_t FILTERS_A_TILE = 4;           // of a convolution: packed together
constexpr int WINOGRAD_TILE = 6;                 // inputs on a side of a tile of Winograd's
constexpr int WINOGRAD_POINTS = WINOGRAD_TILE * WINOGRAD_TILE;
constexpr int64_t TILE_GAP = 16;                // floats between a tile's channels and the next one's, so that they do not fall into one set of a cache
constexpr int64_t GROUP_VECTORS = 4;            // of filters, whose products of tiles are kept at once
constexpr int64_t MOST_TOGETHER = 8;             // images of a round that is predicted one by one, with fully connected layers together
constexpr int64_t WINOGRAD_PANEL = 24;          // filters, or channels, whose products at all points are made at a time
constexpr int64_t WINOGRAD_CHANNELS = 4;        // vectors of them in a product of dw
constexpr int64_t WINOGRAD_GAP = 5;             // vectors between one point's and the next one's
constexpr int64_t WINOGRAD_FILTER_GAP = 40;     // floats, of packed filters
constexpr int64_t WIDEST_FED = 1024;            // columns of an image that can be fed as bytes

}  // namespace striate
