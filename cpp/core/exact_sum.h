// Sums of non-negative doubles without rounding, so that order, threads and shards cannot matter.
//
// A finite double is m * 2^(e - 1074) with m < 2^53 and 0 <= e < 2046. Bin e / 32 collects
// m << (e % 32), below 2^85, in 128 bits: room for 2^42 additions. (The idea of a long fixed-point
// accumulator: Kulisch 2002; Neal 2015, "Fast exact summation using small and large
// superaccumulators", section 3.) Cost: a few cycles per addition.
#pragma once
#include <cstdint>
#include <cstring>

namespace shoal {

class ExactSum {
 public:
  static constexpr int kBins = 64;
  static constexpr int kLimbs = kBins + 4;  // of 32 bits

  void add(double value) {
    const Parts parts(value);
    add_mantissas(parts.exponent, parts.mantissa);
  }

  void merge(const ExactSum& other) {
    for (int i = 0; i < kBins; ++i) bins_[i] += other.bins_[i];
  }

  // The sum as one integer in units of 2^-1074. OUT limbs [kLimbs], least significant first.
  void limbs(uint32_t* limbs) const {
    unsigned __int128 carry = 0;
    for (int i = 0; i < kLimbs; ++i) {
      if (i < kBins) carry += bins_[i];
      limbs[i] = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
  }

 private:
  friend class ExactAdder;

  struct Parts {
    int exponent;
    uint64_t mantissa;

    explicit Parts(double value) {
      uint64_t bits;
      std::memcpy(&bits, &value, sizeof bits);
      exponent = static_cast<int>((bits >> 52) & 0x7ff);  // the sign is set for -0 at most
      mantissa = bits & ((uint64_t{1} << 52) - 1);
      mantissa |= static_cast<uint64_t>(exponent != 0) << 52;
    }
  };

  // sum: of mantissas that share an exponent.
  void add_mantissas(int exponent, uint64_t sum) {
    const int shift = exponent != 0 ? exponent - 1 : 0;
    bins_[shift >> 5] += static_cast<unsigned __int128>(sum) << (shift & 31);
  }

  unsigned __int128 bins_[kBins] = {};
};

// Adds many values fast: mantissas of equal exponent are added in 64 bits first, in two places by
// turns, so that one addition need not wait for the one before. No branch depends on a value.
class ExactAdder {
 public:
  static constexpr int kRoom = 1024;  // additions between two flushes

  void add(double value) {
    const ExactSum::Parts parts(value);
    turn_ ^= 1;
    sums_[turn_][parts.exponent] += parts.mantissa;
    lowest_ = parts.exponent < lowest_ ? parts.exponent : lowest_;
    highest_ = parts.exponent > highest_ ? parts.exponent : highest_;
  }

  void flush(ExactSum& into) {
    for (int e = lowest_; e <= highest_; ++e)
      for (auto& sums : sums_) {
        if (sums[e] != 0) into.add_mantissas(e, sums[e]);
        sums[e] = 0;
      }
    lowest_ = kExponents;
    highest_ = -1;
  }

 private:
  static constexpr int kExponents = 2048;
  uint64_t sums_[2][kExponents] = {};
  int turn_ = 0, lowest_ = kExponents, highest_ = -1;
};

}  // namespace shoal
