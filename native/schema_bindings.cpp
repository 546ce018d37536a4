#include "schema_bindings.h"

#include <limits>
#include <stdexcept>

namespace nb = nanobind;

namespace striate {
namespace {

#define FIELD(type, name) #name, &type::name

template <class T, class F>
void add_fields(nb::class_<T>& bound, const char* name, F T::*field) {
  bound.def_rw(name, field);
}

template <class T, class F, class... Rest>
void add_fields(nb::class_<T>& bound, const char* name, F T::*field, Rest... rest) {
  add_fields(bound, name, field);
  add_fields(bound, rest...);
}

inline void unset(int64_t& field) { field = NONE; }
inline void unset(double& field) { field = std::numeric_limits<double>::quiet_NaN(); }

template <class T>
void unset_all(T&) {}

template <class T, class F, class... Rest>
void unset_all(T& made, const char*, F T::*field, Rest... rest) {
  unset(made.*field);
  unset_all(made, rest...);
}

// A class with every field of T; new ones hold NONE and NaN, which the verifier refuses where something must be said.
template <class T, class... Fields>
void bind(nb::module_& m, const char* name, Fields... fields) {
  static_assert(sizeof(T) == 8 * sizeof...(Fields) / 2, "a field of the struct is not bound, or bound twice");
  nb::class_<T> bound(m, name);
  bound.def("__init__", [fields...](T* self) { unset_all(*new (self) T, fields...); });
  add_fields(bound, fields...);
}

template <class T>
bool read(nb::handle op, OpStruct& into) {
  T* found = nullptr;
  if (!nb::try_cast<T*>(op, found) || !found) return false;
  into = *found;
  return true;
}

template <class... T>
bool read_any(nb::handle op, std::variant<T...>& into) {
  return (read<T>(op, into) || ...);
}

}  // namespace

OpStruct op_struct(nb::handle op) {
  OpStruct found;
  if (!read_any(op, found)) throw std::invalid_argument("an op is not one of the structs of this module");
  return found;
}

Op op_of(const OpStruct& one) {
  return std::visit([&](const auto& fields) { return Op{static_cast<Kind>(one.index()), &fields}; }, one);
}

void bind_schema(nb::module_& m) {
  m.attr("NONE") = NONE;
  m.attr("SLOTS") = SLOTS;
  m.attr("POOLED_WIDTH") = POOLED_WIDTH;
  m.attr("RUN") = RUN;
  m.attr("FILTERS_A_TILE") = FILTERS_A_TILE;
  m.attr("WINOGRAD_POINTS") = WINOGRAD_POINTS;
  m.attr("TILE_GAP") = TILE_GAP;
  m.attr("GROUP_VECTORS") = GROUP_VECTORS;
  m.attr("WINOGRAD_PANEL") = WINOGRAD_PANEL;
  m.attr("WINOGRAD_CHANNELS") = WINOGRAD_CHANNELS;
  m.attr("WINOGRAD_GAP") = WINOGRAD_GAP;
  m.attr("WINOGRAD_FILTER_GAP") = WINOGRAD_FILTER_GAP;
  m.attr("WIDEST_FED") = WIDEST_FED;
  nb::enum_<Function> functions(m, "Function", nb::is_arithmetic());
  for (int64_t i = 0; i < FUNCTIONS; ++i) functions.value(FUNCTION_NAMES[i], static_cast<Function>(i));
  nb::enum_<Pairing>(m, "Pairing", nb::is_arithmetic()).value("PRODUCT", PRODUCT).value("QUOTIENT", QUOTIENT)
      .value("POWER", POWER).value("LARGER", LARGER).value("SMALLER", SMALLER).value("TOTAL", TOTAL);
  nb::enum_<Reduction>(m, "Reduction", nb::is_arithmetic()).value("SUM", SUM).value("MEAN", MEAN).value("MOST", MOST)
      .value("WHERE", WHERE).value("WHERE_LAST", WHERE_LAST);
  nb::enum_<Loss>(m, "Loss", nb::is_arithmetic()).value("NO_LOSS", NO_LOSS).value("CROSS_ENTROPY", CROSS_ENTROPY)
      .value("HINGE", HINGE).value("MEAN_SQUARED_ERROR", MEAN_SQUARED_ERROR);
  nb::enum_<Formula>(m, "Formula", nb::is_arithmetic()).value("NO_UPDATE", NO_UPDATE).value("SGD", SGD)
      .value("ADAGRAD", ADAGRAD).value("RMSPROP", RMSPROP).value("ADADELTA", ADADELTA).value("ADAM", ADAM);
  nb::class_<Frame>(m, "Frame")
      .def(nb::init<>())
      .def_rw("training", &Frame::training)
      .def_rw("arena_vectors", &Frame::arena_vectors)
      .def_rw("packed_floats", &Frame::packed_floats)
      .def_rw("parameters", &Frame::parameters)
      .def_rw("states", &Frame::states)
      .def_rw("statistics", &Frame::statistics)
      .def_rw("kept", &Frame::kept)
      .def_rw("single", &Frame::single)
      .def_rw("scratch", &Frame::scratch)
      .def_rw("ranges", &Frame::ranges)
      .def_rw("n_ranges", &Frame::n_ranges);
  bind<Port>(m, "Port", FIELD(Port, place), FIELD(Port, vectors), FIELD(Port, gradient));
  bind<Conv>(m, "Conv", FIELD(Conv, x), FIELD(Conv, y), FIELD(Conv, dx), FIELD(Conv, dy), FIELD(Conv, accumulate),
        FIELD(Conv, c), FIELD(Conv, h), FIELD(Conv, w), FIELD(Conv, k), FIELD(Conv, p), FIELD(Conv, q), FIELD(Conv, r),
        FIELD(Conv, s), FIELD(Conv, stride_h), FIELD(Conv, stride_w), FIELD(Conv, groups), FIELD(Conv, weight),
        FIELD(Conv, bias), FIELD(Conv, relu), FIELD(Conv, expanded), FIELD(Conv, expanded_h), FIELD(Conv, expanded_w),
        FIELD(Conv, row_map), FIELD(Conv, col_map), FIELD(Conv, taps), FIELD(Conv, pack), FIELD(Conv, packed), FIELD(Conv, back),
        FIELD(Conv, back_h), FIELD(Conv, back_w), FIELD(Conv, back_row_map), FIELD(Conv, back_col_map), FIELD(Conv, back_taps),
        FIELD(Conv, back_pack), FIELD(Conv, back_packed), FIELD(Conv, back_stride_h), FIELD(Conv, back_stride_w),
        FIELD(Conv, back_p), FIELD(Conv, back_q), FIELD(Conv, back_out), FIELD(Conv, pooled), FIELD(Conv, in_registers),
        FIELD(Conv, pool_p), FIELD(Conv, pool_q), FIELD(Conv, map), FIELD(Conv, d_map), FIELD(Conv, winners),
        FIELD(Conv, image_rows), FIELD(Conv, image_width), FIELD(Conv, image_row_map), FIELD(Conv, image_col_map),
        FIELD(Conv, image_pitch), FIELD(Conv, image_run), FIELD(Conv, image_index), FIELD(Conv, image_x), FIELD(Conv, image_dx),
        FIELD(Conv, image_dw), FIELD(Conv, image_order), FIELD(Conv, dx_width), FIELD(Conv, dx_col_map), FIELD(Conv, dx_pitch),
        FIELD(Conv, dx_run), FIELD(Conv, dx_index), FIELD(Conv, few_index), FIELD(Conv, few_packed), FIELD(Conv, few_lanes),
        FIELD(Conv, few_run), FIELD(Conv, few_x), FIELD(Conv, few_y), FIELD(Conv, few_col_map));
  bind<Winograd>(m, "Winograd", FIELD(Winograd, x), FIELD(Winograd, y), FIELD(Winograd, dx), FIELD(Winograd, dy),
        FIELD(Winograd, accumulate), FIELD(Winograd, c), FIELD(Winograd, h), FIELD(Winograd, w), FIELD(Winograd, k),
        FIELD(Winograd, p), FIELD(Winograd, q), FIELD(Winograd, r), FIELD(Winograd, top), FIELD(Winograd, left),
        FIELD(Winograd, weight), FIELD(Winograd, bias), FIELD(Winograd, relu), FIELD(Winograd, packed), FIELD(Winograd, tiles),
        FIELD(Winograd, back_tiles), FIELD(Winograd, points), FIELD(Winograd, products), FIELD(Winograd, turned),
        FIELD(Winograd, upstream), FIELD(Winograd, d_filters), FIELD(Winograd, d_products), FIELD(Winograd, pooled),
        FIELD(Winograd, pool_p), FIELD(Winograd, pool_q), FIELD(Winograd, map), FIELD(Winograd, d_map));
  bind<Linear>(m, "Linear", FIELD(Linear, x), FIELD(Linear, y), FIELD(Linear, dx), FIELD(Linear, dy), FIELD(Linear, accumulate),
        FIELD(Linear, c), FIELD(Linear, k), FIELD(Linear, weight), FIELD(Linear, bias), FIELD(Linear, relu), FIELD(Linear, kept),
        FIELD(Linear, reads_input), FIELD(Linear, by_neurons), FIELD(Linear, adds), FIELD(Linear, awaits));
  bind<MaxPool>(m, "MaxPool", FIELD(MaxPool, x), FIELD(MaxPool, y), FIELD(MaxPool, dx), FIELD(MaxPool, dy),
        FIELD(MaxPool, accumulate), FIELD(MaxPool, c), FIELD(MaxPool, h), FIELD(MaxPool, w), FIELD(MaxPool, p),
        FIELD(MaxPool, q), FIELD(MaxPool, r), FIELD(MaxPool, s), FIELD(MaxPool, row_map), FIELD(MaxPool, col_map),
        FIELD(MaxPool, pairs));
  bind<AveragePool>(m, "AveragePool", FIELD(AveragePool, x), FIELD(AveragePool, y), FIELD(AveragePool, dx),
        FIELD(AveragePool, dy), FIELD(AveragePool, accumulate), FIELD(AveragePool, c), FIELD(AveragePool, h),
        FIELD(AveragePool, w), FIELD(AveragePool, p), FIELD(AveragePool, q), FIELD(AveragePool, r), FIELD(AveragePool, s),
        FIELD(AveragePool, row_map), FIELD(AveragePool, col_map), FIELD(AveragePool, counts));
  bind<PowerPool>(m, "PowerPool", FIELD(PowerPool, x), FIELD(PowerPool, y), FIELD(PowerPool, dx), FIELD(PowerPool, dy),
        FIELD(PowerPool, accumulate), FIELD(PowerPool, c), FIELD(PowerPool, h), FIELD(PowerPool, w), FIELD(PowerPool, p),
        FIELD(PowerPool, q), FIELD(PowerPool, r), FIELD(PowerPool, s), FIELD(PowerPool, row_map), FIELD(PowerPool, col_map),
        FIELD(PowerPool, power));
  bind<Relu>(m, "Relu", FIELD(Relu, x), FIELD(Relu, y), FIELD(Relu, dx), FIELD(Relu, dy), FIELD(Relu, accumulate),
        FIELD(Relu, count));
  bind<LeakyRelu>(m, "LeakyRelu", FIELD(LeakyRelu, x), FIELD(LeakyRelu, y), FIELD(LeakyRelu, dx), FIELD(LeakyRelu, dy),
        FIELD(LeakyRelu, accumulate), FIELD(LeakyRelu, count), FIELD(LeakyRelu, slope));
  bind<Sigmoid>(m, "Sigmoid", FIELD(Sigmoid, x), FIELD(Sigmoid, y), FIELD(Sigmoid, dx), FIELD(Sigmoid, dy),
        FIELD(Sigmoid, accumulate), FIELD(Sigmoid, count));
  bind<Tanh>(m, "Tanh", FIELD(Tanh, x), FIELD(Tanh, y), FIELD(Tanh, dx), FIELD(Tanh, dy), FIELD(Tanh, accumulate),
        FIELD(Tanh, count));
  bind<Curve>(m, "Curve", FIELD(Curve, x), FIELD(Curve, y), FIELD(Curve, dx), FIELD(Curve, dy), FIELD(Curve, accumulate),
        FIELD(Curve, count), FIELD(Curve, function), FIELD(Curve, a), FIELD(Curve, b));
  bind<Dropout>(m, "Dropout", FIELD(Dropout, x), FIELD(Dropout, y), FIELD(Dropout, dx), FIELD(Dropout, dy),
        FIELD(Dropout, accumulate), FIELD(Dropout, count), FIELD(Dropout, index), FIELD(Dropout, rate));
  bind<Prelu>(m, "Prelu", FIELD(Prelu, x), FIELD(Prelu, y), FIELD(Prelu, dx), FIELD(Prelu, dy), FIELD(Prelu, accumulate),
        FIELD(Prelu, count), FIELD(Prelu, weight), FIELD(Prelu, weights), FIELD(Prelu, map));
  bind<Softmax>(m, "Softmax", FIELD(Softmax, x), FIELD(Softmax, y), FIELD(Softmax, dx), FIELD(Softmax, dy),
        FIELD(Softmax, accumulate), FIELD(Softmax, c), FIELD(Softmax, places), FIELD(Softmax, logarithm));
  bind<BatchNorm>(m, "BatchNorm", FIELD(BatchNorm, x), FIELD(BatchNorm, y), FIELD(BatchNorm, dx), FIELD(BatchNorm, dy),
        FIELD(BatchNorm, accumulate), FIELD(BatchNorm, c), FIELD(BatchNorm, places), FIELD(BatchNorm, weight),
        FIELD(BatchNorm, bias), FIELD(BatchNorm, state), FIELD(BatchNorm, relu), FIELD(BatchNorm, statistics),
        FIELD(BatchNorm, ghost), FIELD(BatchNorm, frozen), FIELD(BatchNorm, epsilon), FIELD(BatchNorm, momentum), FIELD(BatchNorm, unbiased));
  bind<InstanceNorm>(m, "InstanceNorm", FIELD(InstanceNorm, x), FIELD(InstanceNorm, y), FIELD(InstanceNorm, dx),
        FIELD(InstanceNorm, dy), FIELD(InstanceNorm, accumulate), FIELD(InstanceNorm, c), FIELD(InstanceNorm, places),
        FIELD(InstanceNorm, weight), FIELD(InstanceNorm, bias), FIELD(InstanceNorm, epsilon));
  bind<ResponseNorm>(m, "ResponseNorm", FIELD(ResponseNorm, x), FIELD(ResponseNorm, y), FIELD(ResponseNorm, dx),
        FIELD(ResponseNorm, dy), FIELD(ResponseNorm, accumulate), FIELD(ResponseNorm, c), FIELD(ResponseNorm, places),
        FIELD(ResponseNorm, size), FIELD(ResponseNorm, squares), FIELD(ResponseNorm, through), FIELD(ResponseNorm, alpha),
        FIELD(ResponseNorm, beta), FIELD(ResponseNorm, k));
  bind<Copy>(m, "Copy", FIELD(Copy, x), FIELD(Copy, y), FIELD(Copy, dx), FIELD(Copy, dy), FIELD(Copy, accumulate),
        FIELD(Copy, count), FIELD(Copy, add), FIELD(Copy, factor));
  bind<Move>(m, "Move", FIELD(Move, x), FIELD(Move, y), FIELD(Move, dx), FIELD(Move, dy), FIELD(Move, accumulate),
        FIELD(Move, count), FIELD(Move, sources), FIELD(Move, map), FIELD(Move, scatter), FIELD(Move, targets),
        FIELD(Move, otherwise));
  bind<Pair>(m, "Pair", FIELD(Pair, x), FIELD(Pair, y), FIELD(Pair, dx), FIELD(Pair, dy), FIELD(Pair, accumulate),
        FIELD(Pair, count), FIELD(Pair, pairing), FIELD(Pair, second), FIELD(Pair, relu), FIELD(Pair, gradient_only));
  bind<Reduce>(m, "Reduce", FIELD(Reduce, x), FIELD(Reduce, y), FIELD(Reduce, dx), FIELD(Reduce, dy), FIELD(Reduce, accumulate),
        FIELD(Reduce, outputs), FIELD(Reduce, each), FIELD(Reduce, sources), FIELD(Reduce, reduction), FIELD(Reduce, map));
  bind<MatMul>(m, "MatMul", FIELD(MatMul, x), FIELD(MatMul, y), FIELD(MatMul, dx), FIELD(MatMul, dy), FIELD(MatMul, accumulate),
        FIELD(MatMul, groups), FIELD(MatMul, p), FIELD(MatMul, c), FIELD(MatMul, q), FIELD(MatMul, second),
        FIELD(MatMul, gradient_only));
  bind<Resample>(m, "Resample", FIELD(Resample, x), FIELD(Resample, y), FIELD(Resample, dx), FIELD(Resample, dy),
        FIELD(Resample, accumulate), FIELD(Resample, c), FIELD(Resample, h), FIELD(Resample, p), FIELD(Resample, w),
        FIELD(Resample, starts), FIELD(Resample, places), FIELD(Resample, shares), FIELD(Resample, otherwise));
  bind<Value>(m, "Value", FIELD(Value, x), FIELD(Value, y), FIELD(Value, dx), FIELD(Value, dy), FIELD(Value, accumulate),
        FIELD(Value, count), FIELD(Value, weight), FIELD(Value, state));
  bind<Relayout>(m, "Relayout", FIELD(Relayout, x), FIELD(Relayout, y), FIELD(Relayout, c), FIELD(Relayout, h),
        FIELD(Relayout, w), FIELD(Relayout, x_first), FIELD(Relayout, x_c), FIELD(Relayout, x_h), FIELD(Relayout, x_w),
        FIELD(Relayout, y_first), FIELD(Relayout, y_c), FIELD(Relayout, y_h), FIELD(Relayout, y_w), FIELD(Relayout, splat),
        FIELD(Relayout, border), FIELD(Relayout, framed));
  bind<ChannelConv>(m, "ChannelConv", FIELD(ChannelConv, x), FIELD(ChannelConv, x_first), FIELD(ChannelConv, x_pitch),
        FIELD(ChannelConv, x_row), FIELD(ChannelConv, y), FIELD(ChannelConv, y_first), FIELD(ChannelConv, y_pitch),
        FIELD(ChannelConv, y_row), FIELD(ChannelConv, border), FIELD(ChannelConv, c), FIELD(ChannelConv, k),
        FIELD(ChannelConv, p), FIELD(ChannelConv, q), FIELD(ChannelConv, r), FIELD(ChannelConv, s), FIELD(ChannelConv, stride_h),
        FIELD(ChannelConv, stride_w), FIELD(ChannelConv, dilation_h), FIELD(ChannelConv, dilation_w), FIELD(ChannelConv, groups),
        FIELD(ChannelConv, weight), FIELD(ChannelConv, bias), FIELD(ChannelConv, relu), FIELD(ChannelConv, most),
        FIELD(ChannelConv, second), FIELD(ChannelConv, second_first), FIELD(ChannelConv, second_pitch),
        FIELD(ChannelConv, second_row), FIELD(ChannelConv, packed), FIELD(ChannelConv, by_filters));
  bind<ChannelWinograd>(m, "ChannelWinograd", FIELD(ChannelWinograd, x), FIELD(ChannelWinograd, x_first),
        FIELD(ChannelWinograd, x_pitch), FIELD(ChannelWinograd, x_row), FIELD(ChannelWinograd, y),
        FIELD(ChannelWinograd, y_first), FIELD(ChannelWinograd, y_pitch), FIELD(ChannelWinograd, y_row),
        FIELD(ChannelWinograd, border), FIELD(ChannelWinograd, c), FIELD(ChannelWinograd, h), FIELD(ChannelWinograd, w),
        FIELD(ChannelWinograd, k), FIELD(ChannelWinograd, p), FIELD(ChannelWinograd, q), FIELD(ChannelWinograd, kernel),
        FIELD(ChannelWinograd, before_h), FIELD(ChannelWinograd, before_w), FIELD(ChannelWinograd, weight),
        FIELD(ChannelWinograd, bias), FIELD(ChannelWinograd, relu), FIELD(ChannelWinograd, most), FIELD(ChannelWinograd, second),
        FIELD(ChannelWinograd, second_first), FIELD(ChannelWinograd, second_pitch), FIELD(ChannelWinograd, second_row),
        FIELD(ChannelWinograd, packed), FIELD(ChannelWinograd, pooled), FIELD(ChannelWinograd, block),
        FIELD(ChannelWinograd, staged), FIELD(ChannelWinograd, points));
  bind<ChannelDepthwise>(m, "ChannelDepthwise", FIELD(ChannelDepthwise, x), FIELD(ChannelDepthwise, x_first),
        FIELD(ChannelDepthwise, x_pitch), FIELD(ChannelDepthwise, x_row), FIELD(ChannelDepthwise, y),
        FIELD(ChannelDepthwise, y_first), FIELD(ChannelDepthwise, y_pitch), FIELD(ChannelDepthwise, y_row),
        FIELD(ChannelDepthwise, border), FIELD(ChannelDepthwise, c), FIELD(ChannelDepthwise, p), FIELD(ChannelDepthwise, q),
        FIELD(ChannelDepthwise, r), FIELD(ChannelDepthwise, s), FIELD(ChannelDepthwise, stride_h),
        FIELD(ChannelDepthwise, stride_w), FIELD(ChannelDepthwise, dilation_h), FIELD(ChannelDepthwise, dilation_w),
        FIELD(ChannelDepthwise, weight), FIELD(ChannelDepthwise, bias), FIELD(ChannelDepthwise, relu),
        FIELD(ChannelDepthwise, most), FIELD(ChannelDepthwise, packed));
  bind<ChannelMaxPool>(m, "ChannelMaxPool", FIELD(ChannelMaxPool, x), FIELD(ChannelMaxPool, x_first),
        FIELD(ChannelMaxPool, x_pitch), FIELD(ChannelMaxPool, x_row), FIELD(ChannelMaxPool, y), FIELD(ChannelMaxPool, y_first),
        FIELD(ChannelMaxPool, y_pitch), FIELD(ChannelMaxPool, y_row), FIELD(ChannelMaxPool, border), FIELD(ChannelMaxPool, c),
        FIELD(ChannelMaxPool, h), FIELD(ChannelMaxPool, w), FIELD(ChannelMaxPool, p), FIELD(ChannelMaxPool, q),
        FIELD(ChannelMaxPool, r), FIELD(ChannelMaxPool, s), FIELD(ChannelMaxPool, stride_h), FIELD(ChannelMaxPool, stride_w),
        FIELD(ChannelMaxPool, dilation_h), FIELD(ChannelMaxPool, dilation_w), FIELD(ChannelMaxPool, before_h),
        FIELD(ChannelMaxPool, before_w));
  bind<ChannelAveragePool>(m, "ChannelAveragePool", FIELD(ChannelAveragePool, x), FIELD(ChannelAveragePool, x_first),
        FIELD(ChannelAveragePool, x_pitch), FIELD(ChannelAveragePool, x_row), FIELD(ChannelAveragePool, y),
        FIELD(ChannelAveragePool, y_first), FIELD(ChannelAveragePool, y_pitch), FIELD(ChannelAveragePool, y_row),
        FIELD(ChannelAveragePool, border), FIELD(ChannelAveragePool, c), FIELD(ChannelAveragePool, h),
        FIELD(ChannelAveragePool, w), FIELD(ChannelAveragePool, p), FIELD(ChannelAveragePool, q), FIELD(ChannelAveragePool, r),
        FIELD(ChannelAveragePool, s), FIELD(ChannelAveragePool, stride_h), FIELD(ChannelAveragePool, stride_w),
        FIELD(ChannelAveragePool, dilation_h), FIELD(ChannelAveragePool, dilation_w), FIELD(ChannelAveragePool, before_h),
        FIELD(ChannelAveragePool, before_w), FIELD(ChannelAveragePool, counts));
  bind<ChannelLinear>(m, "ChannelLinear", FIELD(ChannelLinear, x), FIELD(ChannelLinear, y), FIELD(ChannelLinear, c),
        FIELD(ChannelLinear, k), FIELD(ChannelLinear, weight), FIELD(ChannelLinear, bias), FIELD(ChannelLinear, relu), FIELD(ChannelLinear, together));
  bind<ChannelSoftmax>(m, "ChannelSoftmax", FIELD(ChannelSoftmax, x), FIELD(ChannelSoftmax, y), FIELD(ChannelSoftmax, c),
        FIELD(ChannelSoftmax, logarithm));
  bind<ChannelResponseNorm>(m, "ChannelResponseNorm", FIELD(ChannelResponseNorm, x), FIELD(ChannelResponseNorm, x_first),
        FIELD(ChannelResponseNorm, x_pitch), FIELD(ChannelResponseNorm, x_row), FIELD(ChannelResponseNorm, y),
        FIELD(ChannelResponseNorm, y_first), FIELD(ChannelResponseNorm, y_pitch), FIELD(ChannelResponseNorm, y_row),
        FIELD(ChannelResponseNorm, border), FIELD(ChannelResponseNorm, c), FIELD(ChannelResponseNorm, h),
        FIELD(ChannelResponseNorm, w), FIELD(ChannelResponseNorm, size), FIELD(ChannelResponseNorm, alpha),
        FIELD(ChannelResponseNorm, beta), FIELD(ChannelResponseNorm, k));
}

}  // namespace striate
