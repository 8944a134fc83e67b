// In which order the rows of an epoch come: a keyed permutation, of which any part is found
// without the rest, and the rows that its places stand for where the data is cut into strips.
#pragma once
#include <cstdint>

namespace shoal {

// A permutation of 0 … n - 1 for each set of keys. n is at most 2^60, the number of keys even.
struct Keyed {
  int64_t n;
  const uint64_t* keys;
  int64_t rounds;  // as many as keys
};

// What a window takes of a segment of the data: rows that follow each other, in a circle.
struct Strip {
  int64_t place;    // in the window, at which its rows begin
  int64_t begin;    // the first row of the segment
  int64_t length;   // rows of the segment
  int64_t skipped;  // of these before the strip; below 2 lengths with any of the strip
};

// What stands at the places first … first + size - 1, none below 0 or above n - 1. IN keys
// [rounds]. OUT found [size].
//
// A Feistel network over a x b >= n places (Luby & Rackoff 1988; Black & Rogaway 2002, "Ciphers
// with arbitrary finite domains"): a place that is none of the n is sent on until it is one.
// Places go side by side: one after the other takes twice as long (21 ns for 6 rounds, not 10).
void permute(const Keyed& permutation, int64_t first, int64_t size, int64_t* found);

// The rows at some places of a window. IN strips [number], by increasing place, the first at 0.
// INOUT found [size]: places, then rows.
void rows_of(const Strip* strips, int64_t number, int64_t size, int64_t* found);

}  // namespace shoal
