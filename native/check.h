// What proofs are made of: one op of a program, and questions to it that are answered or throw std::invalid_argument with the op,
// the field and the numbers.
#pragma once
#include <cmath>
#include <stdexcept>
#include <string>

#include "schema.h"

namespace striate {

constexpr int64_t LARGEST = int64_t{1} << 40;          // of any size: products of three still fit where they are checked
constexpr int64_t ANY_ENTRY = (int64_t{1} << 31) - 1;  // of the table

// The least multiple of `unit` that is no smaller.
inline int64_t up(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

struct Range {
  int64_t low, high;  // both included
};

class Check {
 public:
  Check(const Program& program, int64_t lanes, const std::string& where) : program_(program), lanes_(lanes), where_(where) {}

  const Program& program() const { return program_; }
  const Frame& frame() const { return program_.frame; }
  bool training() const { return frame().training != 0; }
  int64_t lanes() const { return lanes_; }

  [[noreturn]] void fail(const std::string& what) const { throw std::invalid_argument(where_ + ": " + what); }

  void flag(const char* name, int64_t value) const {
    if (value != 0 && value != 1) fail(std::string(name) + " must be 0 or 1, and is " + std::to_string(value));
  }
  template <class... Rest>
  void size(const char* name, int64_t value, Rest... rest) const {
    if (value < 0 || value > LARGEST) fail(std::string(name) + " must be from 0 to 2^40, and is " + std::to_string(value));
    if constexpr (sizeof...(rest) > 0) size(rest...);
  }
  void number(const char* name, int64_t value, Range allowed) const {
    if (value < allowed.low || value > allowed.high)
      fail(std::string(name) + " must be from " + std::to_string(allowed.low) + " to " + std::to_string(allowed.high) + ", and is " +
           std::to_string(value));
  }
  void same(const char* what, int64_t left, int64_t right) const {
    if (left != right) fail(std::string(what) + ": " + std::to_string(left) + " is not " + std::to_string(right));
  }
  void finite(const char* name, double value) const {
    if (std::isnan(value)) fail(std::string(name) + " was not said");
  }

  // The product of sizes.
  template <class... Sizes>
  int64_t times(Sizes... sizes) const {
    int64_t product = 1;
    for (const int64_t one : {static_cast<int64_t>(sizes)...})
      if (__builtin_mul_overflow(product, one, &product)) fail("its sizes multiply to more than 2^63 - 1");
    return product;
  }

  // The sum of numbers.
  template <class... Numbers>
  int64_t plus(Numbers... numbers) const {
    int64_t sum = 0;
    for (const int64_t one : {static_cast<int64_t>(numbers)...})
      if (__builtin_add_overflow(sum, one, &sum)) fail("its sizes add up to more than 2^63 - 1");
    return sum;
  }

  void arena(const char* name, int64_t at, int64_t vectors) const { inside(name, at, vectors, frame().arena_vectors, "vectors of the arena"); }
  // Floats low … high − 1, counted from a place of the arena.
  void floats(const char* name, int64_t at, int64_t low, int64_t high) const {
    arena(name, at, 0);
    const int64_t most = (frame().arena_vectors - at) * lanes_;
    if (low < 0 || high < low || high > most)
      fail(std::string(name) + " reaches from float " + std::to_string(low) + " to " + std::to_string(high) + " of its place, and there are " +
           std::to_string(most) + " to the arena's end");
  }
  // The same of an array that an op may do without.
  void maybe(const char* name, int64_t at, int64_t vectors) const {
    if (at != NONE) arena(name, at, vectors);
  }
  void packed(const char* name, int64_t at, int64_t floats) const { inside(name, at, floats, frame().packed_floats, "packed floats"); }
  void parameters(const char* name, int64_t at, int64_t floats) const { inside(name, at, floats, frame().parameters, "parameters"); }
  void state(const char* name, int64_t at, int64_t floats) const { inside(name, at, floats, frame().states, "running statistics"); }

  // `count` entries of the table, each within `allowed`.
  const int32_t* table(const char* name, int64_t at, int64_t count, Range allowed) const {
    inside(name, at, count, program_.table_size, "integers of the table");
    const int32_t* entries = program_.table + at;
    for (int64_t i = 0; i < count; ++i)
      if (entries[i] < allowed.low || entries[i] > allowed.high)
        fail(std::string(name) + "[" + std::to_string(i) + "] is " + std::to_string(entries[i]) + ", and must be from " +
             std::to_string(allowed.low) + " to " + std::to_string(allowed.high));
    return entries;
  }

  // What every op begins with: x and y of so many vectors, dx and dy as backward needs them.
  template <class O>
  void ends(const O& o, int64_t x, int64_t y) const {
    arena("x", o.x, x);
    arena("y", o.y, y);
    back(o, x, y);
  }
  template <class O>
  void back(const O& o, int64_t x, int64_t y) const {
    flag("accumulate", o.accumulate);
    if (!training() && (o.dx != NONE || o.dy != NONE)) fail("a program without a backward pass has no gradients");
    if (o.dx != NONE && o.dy == NONE) fail("dx is made from dy, and there is none");
    maybe("dx", o.dx, x);
    maybe("dy", o.dy, y);
  }

 private:
  void inside(const char* name, int64_t at, int64_t count, int64_t total, const char* of) const {
    if (at < 0 || count < 0 || count > total || at > total - count)
      fail(std::string(name) + " lies at " + std::to_string(at) + " to " + std::to_string(at) + " + " + std::to_string(count) + ", and there are " +
           std::to_string(total) + " " + of);
  }

  const Program& program_;
  int64_t lanes_;
  const std::string& where_;
};

// Extents of convolutions over lanes: verify_conv.cpp and verify_winograd.cpp. Those of other kinds over lanes are in verify.cpp.
void extents(const Check& check, const Conv& o);
void extents(const Check& check, const Winograd& o);

// Of ops over channels: verify_channels.cpp.
void extents(const Check& check, const Relayout& o);
void extents(const Check& check, const ChannelConv& o);
void extents(const Check& check, const ChannelWinograd& o);
void extents(const Check& check, const ChannelDepthwise& o);
void extents(const Check& check, const ChannelMaxPool& o);
void extents(const Check& check, const ChannelAveragePool& o);
void extents(const Check& check, const ChannelLinear& o);
void extents(const Check& check, const ChannelSoftmax& o);
void extents(const Check& check, const ChannelResponseNorm& o);

}  // namespace striate
