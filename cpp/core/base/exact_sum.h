// Sums of non-negative doubles without rounding, so that order, threads and shards cannot matter.
//
// A finite double is m * 2^(e - 1074) with m < 2^53 and 0 <= e < 2046. Bin e / 32 collects
// m << (e % 32), below 2^85, in 128 bits: room for 2^42 additions. (The idea of a long fixed-point
// accumulator: Kulisch 2002; Neal 2015, "Fast exact summation using small and large
// superaccumulators", section 3.) Cost: a few cycles per addition.
#pragma once
#include <array>
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
    for (uint64_t left = other.used_; left != 0; left &= left - 1) {
      const int i = __builtin_ctzll(left);
      bins_[i] += other.bins_[i];
    }
    used_ |= other.used_;
  }

  // Takes away a value that was added.
  void take(double value) {
    const Parts parts(value);
    const int shift = parts.exponent != 0 ? parts.exponent - 1 : 0;
    bins_[shift >> 5] -= static_cast<unsigned __int128>(parts.mantissa) << (shift & 31);
  }

  // The sum as one integer in units of 2^-1074. OUT limbs [kLimbs], least significant first.
  void limbs(uint32_t* limbs) const {
    std::memset(limbs, 0, kLimbs * sizeof *limbs);
    limbs_between(lowest(), highest(), limbs);
  }

  // Only those that can differ from 0 if lowest <= lowest() and highest >= highest(). OUT limbs,
  // [lowest, highest) of them.
  void limbs_between(int lowest, int highest, uint32_t* limbs) const {
    unsigned __int128 carry = 0;
    for (int i = lowest; i < highest; ++i) {
      if (i < kBins) carry += bins_[i];
      limbs[i] = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
  }

  // In float64, off by less than 2^-50 of it; only where that is not below 2^-800.
  double rounded() const {
    double sum = 0;
    for (uint64_t left = used_ & ~uint64_t{3}; left != 0; left &= left - 1) {
      const int i = __builtin_ctzll(left);
      const auto low = static_cast<double>(static_cast<uint64_t>(bins_[i]));
      const auto high = static_cast<double>(static_cast<uint64_t>(bins_[i] >> 64));
      const uint64_t bits = static_cast<uint64_t>(32 * i - 1074 + 1023) << 52;
      double unit;
      std::memcpy(&unit, &bits, sizeof unit);
      sum += (high * 0x1p64 + low) * unit;
    }
    return sum;
  }

  // Limbs below and from here on are 0.
  int lowest() const { return used_ != 0 ? __builtin_ctzll(used_) : 0; }
  int highest() const { return used_ != 0 ? 68 - __builtin_clzll(used_) : 0; }

 private:
  friend class ExactAdder;
  friend class ExactRest;

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
    used_ |= static_cast<uint64_t>(sum != 0) << (shift >> 5);
  }

  unsigned __int128 bins_[kBins] = {};
  uint64_t used_ = 0;  // a bit for each bin that more than 0 was added to
};

// An exact sum as one integer, least significant first.
using Limbs = std::array<uint32_t, ExactSum::kLimbs>;

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

// An integer in the units of ExactSum, from which values are taken until one is more than is left.
class ExactRest {
 public:
  // IN limbs [ExactSum::kLimbs].
  explicit ExactRest(const uint32_t* limbs) {
    for (int i = 0; i < kWords; ++i)
      words_[i] = limbs[2 * i] | static_cast<uint64_t>(limbs[2 * i + 1]) << 32;
  }

  // False where the value is more than is left; then nothing more can be taken.
  bool take(double value) {
    const ExactSum::Parts parts(value);
    const int shift = parts.exponent != 0 ? parts.exponent - 1 : 0;
    unsigned __int128 less = static_cast<unsigned __int128>(parts.mantissa) << (shift & 63);
    for (int i = shift >> 6; less != 0; ++i, less >>= 64) {
      if (i == kWords) return false;
      const auto word = static_cast<uint64_t>(less);
      less += words_[i] < word ? static_cast<unsigned __int128>(1) << 64 : 0;
      words_[i] -= word;
    }
    return true;
  }

 private:
  static constexpr int kWords = ExactSum::kLimbs / 2;
  static_assert(ExactSum::kLimbs % 2 == 0);
  uint64_t words_[kWords];
};

}  // namespace shoal
