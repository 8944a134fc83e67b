// Rows of the dtypes that are widened: the same bits, on every SIMD target, plan and memory order,
// as from the same values in float32 or float64. Usage: test_dtypes [seed]
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "checks.h"
#include "core/assign/assign.h"
#include "core/base/reference.h"
#include "core/seeding/seeding.h"
#include "core/simd/dispatch.h"
#include "core/sums/distances.h"
#include "core/sums/scan.h"
#include "core/sums/sums.h"

namespace {

using namespace shoal;

struct Named {
  Dtype dtype;
  const char* name;
};
const std::vector<Named> kDtypes = {
    {Dtype::bfloat16, "bfloat16"}, {Dtype::int8, "int8"},     {Dtype::uint8, "uint8"},
    {Dtype::int16, "int16"},       {Dtype::uint16, "uint16"}, {Dtype::int32, "int32"},
    {Dtype::uint32, "uint32"},     {Dtype::int64, "int64"},   {Dtype::uint64, "uint64"}};

// A value of any bits that rows may have: most are large, some are near 0, some the extremes.
template <class T>
T any_value() {
  const uint64_t kind = generator() % 8, bits = generator();
  if constexpr (std::is_same_v<T, Bfloat16>) {
    auto half = static_cast<uint16_t>(bits & 0x83ff);
    half = static_cast<uint16_t>(half + (kind == 0 ? 0 : (100 + bits / 65536 % 40) << 7));
    return {half};  // an exponent near that of 1, or a denormal
  } else {
    constexpr uint64_t kMost = uint64_t{1} << 53;
    if (kind == 0) return static_cast<T>(bits % 3);
    if constexpr (sizeof(T) == 8)
      if (kind == 1)
        return static_cast<T>(std::is_signed_v<T> && bits % 2 == 0 ? 0 - kMost : kMost);
    if (kind == 1)
      return bits % 2 == 0 ? std::numeric_limits<T>::min() : std::numeric_limits<T>::max();
    if (sizeof(T) == 8) return static_cast<T>(bits % (kMost + 1));
    return static_cast<T>(bits);
  }
}

// The same values in a dtype, laid out in some way in memory of exactly their size, and widened,
// packed.
struct Pair {
  std::vector<char> memory;
  std::vector<float> narrow;
  std::vector<double> wide;
  Rows rows{}, widened{};
  std::string layout;

  template <class T>
  void fill(Dtype dtype, int64_t n, int64_t d, bool zeros) {
    constexpr int64_t kSize = sizeof(T);
    const int64_t kind = below(6);
    const int64_t gap = kind == 4 ? 3 : 0;  // bytes, so that most values are not aligned
    int64_t row = kSize * d + gap, col = kSize;
    if (kind == 1) row = kSize, col = kSize * n;
    if (kind == 2) row = 2 * kSize * d;
    if (kind == 3) col = 2 * kSize, row = 2 * kSize * d;
    if (kind == 5) row = -row, col = -col;
    layout = std::vector<std::string>{"packed rows",         "packed columns", "every second row",
                                      "every second column", "odd addresses",  "reversed"}[kind];
    const int64_t span = std::abs(row) * (n - 1) + std::abs(col) * (d - 1);
    memory.resize(span + kSize);
    rows = {memory.data() + (kind == 5 ? span : 0), dtype, n, d, row, col};
    narrow.resize(is_double(dtype) ? 0 : n * d);
    wide.resize(is_double(dtype) ? n * d : 0);
    for (int64_t i = 0; i < n; ++i) {
      const bool zero = zeros && below(9) == 0;
      for (int64_t t = 0; t < d; ++t) {
        const T x = zero ? T{} : any_value<T>();
        std::memcpy(memory.data() + (rows.row(i) - memory.data()) + t * col, &x, sizeof x);
        if constexpr (std::is_same_v<Widened<T>, float>)
          narrow[i * d + t] = widen(x);
        else
          wide[i * d + t] = widen(x);
      }
    }
    const auto* data = is_double(dtype) ? reinterpret_cast<const char*>(wide.data())
                                        : reinterpret_cast<const char*>(narrow.data());
    const Dtype as = is_double(dtype) ? Dtype::float64 : Dtype::float32;
    widened = {data, as, n, d, d * item_size(as), item_size(as)};
  }

  Pair(Dtype dtype, int64_t n, int64_t d, bool zeros = true) {
    with_type(dtype, [&]<class T>() { fill<T>(dtype, n, d, zeros); });
  }
};

std::vector<uint32_t> limbs_of(const ExactSum& sum) {
  std::vector<uint32_t> limbs(ExactSum::kLimbs);
  sum.limbs(limbs.data());
  return limbs;
}

struct Grids {
  std::vector<double> quantum, inverse;
  explicit Grids(const std::vector<double>& magnitude, int bits, bool squares) {
    for (size_t t = 0; t <= magnitude.size(); ++t) {
      double most = t < magnitude.size() ? magnitude[t] : 1;
      if (squares) most *= most;
      const int exponent = most > 0 ? std::ilogb(most) + 1 : 0;
      quantum.push_back(std::ldexp(1.0, std::max(exponent - bits, -1000)));
      inverse.push_back(1 / quantum.back());
    }
  }
};

struct Trial {
  int64_t n, d, k;
  Metric metric;
  Plan plan;
  int threads;
};

// One pass by itself, and the functions beside it.
void try_pass(const Pair& x, const Rows& centers, const Trial& trial, const Target& target) {
  std::vector<int32_t> labels[2];
  std::vector<double> distances[2], all[2], read[2];
  std::vector<uint32_t> loss[2];
  for (int which = 0; which < 2; ++which) {
    const Rows& rows = which == 0 ? x.rows : x.widened;
    labels[which].resize(trial.n);
    distances[which].resize(trial.n);
    all[which].resize(trial.n * trial.k);
    read[which].resize(trial.n * trial.d);
    const Task task{rows, nullptr, centers, trial.metric, target, trial.threads, trial.plan};
    loss[which] = limbs_of(assign(task, labels[which].data(), distances[which].data()).loss);
    std::vector<int32_t> alone(trial.n);
    assign(task, alone.data(), nullptr, false);
    CHECK(alone == labels[which]);
    all_distances(rows, centers, trial.metric, target, trial.threads, Dtype::float64,
                  all[which].data());
    read_rows(rows, trial.metric, target, read[which].data());
  }
  CHECK(labels[0] == labels[1]);
  CHECK(distances[0] == distances[1]);
  CHECK(loss[0] == loss[1]);
  CHECK(all[0] == all[1]);
  CHECK(read[0] == read[1]);
  std::vector<int32_t> truth(trial.n);
  std::vector<double> far(trial.n);
  reference_assign(x.rows, centers, trial.metric, truth.data(), far.data());
  CHECK(labels[0] == truth);
  CHECK(distances[0] == far);
}

// Passes that keep what they learned.
void try_passes(const Pair& x, const Pair& centers, const Trial& trial, const Target& target,
                const std::vector<double>& magnitude) {
  const bool weighted = below(3) == 0;
  const bool two = is_double(x.rows.dtype) || trial.metric == Metric::cosine || weighted;
  const std::vector<double> ones(trial.d, 1);
  const auto& largest = trial.metric == Metric::cosine ? ones : magnitude;
  const Grids sums_grid(largest, 48, false), square_grid(largest, 48, true);
  const Grid grid{sums_grid.quantum.data(),
                  sums_grid.inverse.data(),
                  square_grid.quantum.data(),
                  square_grid.inverse.data(),
                  48,
                  two ? 2 : 1};
  std::vector<double> weights(trial.n, 0.75);
  const int64_t size = grid.levels * trial.k * (trial.d + 1);
  std::vector<int64_t> sums[2], squares[2];
  std::vector<int32_t> labels[2];
  const int64_t budget = below(2) * 1000 * trial.n;
  Keeper keepers[2] = {{trial.n, budget}, {trial.n, budget}};
  for (int pass = 0; pass < 3; ++pass) {
    const Rows& from = centers.widened;
    Rows now = from;  // other centers at each pass
    now.data = from.row(pass);
    now.n = trial.k;
    for (int which = 0; which < 2; ++which) {
      sums[which].resize(size);
      squares[which].resize(2 * (trial.d + 1));
      labels[which].resize(trial.n, -1);
      const Task task{which == 0 ? x.rows : x.widened,
                      weighted ? weights.data() : nullptr,
                      now,
                      trial.metric,
                      target,
                      trial.threads,
                      trial.plan};
      assign_again(task, keepers[which], labels[which].data(), grid, sums[which].data(),
                   squares[which].data());
    }
    CHECK(labels[0] == labels[1]);
    CHECK(sums[0] == sums[1]);
    CHECK(squares[0] == squares[1]);
  }
  std::vector<int64_t> again(size);
  add_sums(x.rows, weighted ? weights.data() : nullptr, labels[0].data(), trial.k, trial.metric,
           grid, target, trial.threads, again.data());
  CHECK(again == sums[0]);
}

void try_seeding(const Pair& x, const Rows& first, const Trial& trial, const Target& target) {
  std::vector<int64_t> picked[2];
  std::vector<double> distances[2];
  std::vector<uint64_t> draws(12);
  for (uint64_t& draw : draws) draw = generator() >> 11;
  const int64_t room = below(2) * 1'000'000;
  for (int which = 0; which < 2; ++which) {
    const Rows& rows = which == 0 ? x.rows : x.widened;
    Seeding seeding({rows, nullptr}, first, trial.metric, 0, room, target, trial.threads);
    picked[which].resize(4);
    picked[which].resize(seeding.pick({rows, nullptr}, draws.data(), 4, 3, target, trial.threads,
                                      picked[which].data()));
    distances[which] = seeding.distances();
  }
  CHECK(picked[0] == picked[1]);
  CHECK(distances[0] == distances[1]);
}

void test_all() {
  struct Shape {
    int64_t n, d, k;
  };
  for (const Target* target : usable_targets())
    for (const Named& named : kDtypes)
      for (const auto& [n, d, k] :
           {Shape{1, 1, 1}, Shape{1500, 1, 5}, Shape{3000, 2, 64}, Shape{3000, 3, 30},
            Shape{700, 7, 40}, Shape{500, 40, 20}, Shape{300, 100, 3}, Shape{300, 133, 50}})
        for (const Metric metric : {Metric::squared_euclidean, Metric::cosine})
          for (const Plan plan : {Plan::f32, Plan::int8, Plan::bf16, Plan::bf16x2, Plan::boxes}) {
            if ((plan == Plan::int8 && target->int8 == nullptr) ||
                (plan == Plan::bf16 && target->bf16 == nullptr) ||
                (plan == Plan::bf16x2 && target->bf16x2 == nullptr) ||
                (plan == Plan::boxes && d > kMostBoxColumns))
              continue;
            const Pair x(named.dtype, n, d), c(named.dtype, k + 3, d, false);
            const Trial trial{n, d, k, metric, plan, 1 + static_cast<int>(below(3))};
            context = std::string(target->name) + ", " + named.name + ", " + x.layout +
                      ", n=" + std::to_string(n) + " d=" + std::to_string(d) +
                      " k=" + std::to_string(k) + ", plan " +
                      std::to_string(static_cast<int>(plan)) +
                      (metric == Metric::cosine ? ", cosine" : "");
            std::vector<double> magnitude(d), expected(d);
            CHECK(scan(x.rows, *target, trial.threads, magnitude.data()).bad_row == -1);
            CHECK(scan(x.widened, *target, trial.threads, expected.data()).bad_row == -1);
            CHECK(magnitude == expected);
            Rows centers = c.widened;
            centers.n = k;
            try_pass(x, centers, trial, *target);
            try_passes(x, c, trial, *target, magnitude);
            centers.n = 1;
            try_seeding(x, centers, trial, *target);
          }
}

// The first value that rows may not have.
template <class T>
void test_bad(Dtype dtype, const std::vector<T>& bad) {
  for (const Target* target : usable_targets())
    for (const T& value : bad)
      for (const bool by_rows : {true, false}) {
        constexpr int64_t kRows = 5000, kColumns = 9;
        std::vector<T> values(kRows * kColumns);
        const int64_t row = below(kRows), col = below(kColumns);
        const int64_t row_step = by_rows ? kColumns : 1, col_step = by_rows ? 1 : kRows;
        values[row * row_step + col * col_step] = value;
        values[(kRows - 1) * row_step + (kColumns - 1) * col_step] = value;
        const Rows rows{reinterpret_cast<const char*>(values.data()),
                        dtype,
                        kRows,
                        kColumns,
                        row_step * static_cast<int64_t>(sizeof(T)),
                        col_step * static_cast<int64_t>(sizeof(T))};
        std::vector<double> magnitude(kColumns);
        context = std::string(target->name) + ", bad values";
        const Scan found = scan(rows, *target, 2, magnitude.data());
        CHECK(found.bad_row == row && found.bad_col == col);
      }
}

void test_widening() {
  for (int bits = 0; bits < 65536; ++bits) {
    context = "bfloat16 of bits " + std::to_string(bits);
    const int exponent = bits >> 7 & 255, fraction = bits & 127;
    const double magnitude =
        exponent == 0 ? std::ldexp(fraction, -133) : std::ldexp(128 + fraction, exponent - 134);
    const float x = widen(Bfloat16{static_cast<uint16_t>(bits)});
    CHECK(std::signbit(x) == (bits >= 32768));
    if (exponent == 255)
      CHECK(fraction == 0 ? std::isinf(x) : std::isnan(x));
    else
      CHECK(static_cast<double>(std::fabs(x)) == magnitude);
  }
}

}  // namespace

int main(int argc, char** argv) {
  start(argc, argv, 20240607);
  test_widening();
  test_all();
  constexpr int64_t kMost = int64_t{1} << 53;
  test_bad<int64_t>(Dtype::int64, {kMost + 1, -kMost - 1, std::numeric_limits<int64_t>::min(),
                                   std::numeric_limits<int64_t>::max()});
  test_bad<uint64_t>(Dtype::uint64, {kMost + 1, std::numeric_limits<uint64_t>::max()});
  test_bad<Bfloat16>(Dtype::bfloat16,
                     {Bfloat16{0x7f80}, Bfloat16{0xff80}, Bfloat16{0x7fc0}, Bfloat16{0xff81}});
  return finish();
}
