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

  // Adds through a register: distances of one data set mostly fall into one bin.
  class Adder {
   public:
    explicit Adder(ExactSum& sum) : sum_(sum) {}
    ~Adder() { flush(); }
    Adder(const Adder&) = delete;
    Adder& operator=(const Adder&) = delete;

    void add(double value) {
      const Term term(value);
      if (term.bin != bin_) {
        flush();
        bin_ = term.bin;
      }
      pending_ += term.shifted;
    }

   private:
    void flush() {
      sum_.bins_[bin_] += pending_;
      pending_ = 0;
    }
    ExactSum& sum_;
    int bin_ = 0;
    unsigned __int128 pending_ = 0;
  };

  void add(double value) {
    const Term term(value);
    bins_[term.bin] += term.shifted;
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
  struct Term {
    int bin;
    unsigned __int128 shifted;

    explicit Term(double value) {
      uint64_t bits;
      std::memcpy(&bits, &value, sizeof bits);
      const int exponent = static_cast<int>(bits >> 52);  // the sign is never set
      uint64_t mantissa = bits & ((uint64_t{1} << 52) - 1);
      if (exponent != 0) mantissa |= uint64_t{1} << 52;
      const int shift = exponent != 0 ? exponent - 1 : 0;
      bin = shift >> 5;
      shifted = static_cast<unsigned __int128>(mantissa) << (shift & 31);
    }
  };

  unsigned __int128 bins_[kBins] = {};
};

}  // namespace shoal
