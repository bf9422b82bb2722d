#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "core/base/rng.h"
#include "core/base/sha256.h"
#include "core/base/sha256_block.h"
#include "core/base/status.h"

namespace microtome {
namespace {

TEST(Sha256, KnownAnswers) {   // FIPS 180-4 and the NIST example files
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesGiveTheSameAsTheWhole) {
  Rng rng(5);
  for (size_t size = 0; size < 300; ++size) {
    std::string text;
    for (size_t i = 0; i < size; ++i) text += static_cast<char>(rng.below(256));
    Sha256 hash;
    for (size_t at = 0; at < size;) {
      const size_t n = std::min<size_t>(size - at, rng.below(70));
      hash.update(text.data() + at, n);
      at += n;
    }
    EXPECT_EQ(hash.hex(), sha256_hex(text)) << size;
  }
}

TEST(Sha256, TheProcessorsInstructionsAgreeWithThePortableForm) {
  Rng rng(6);
  std::vector<uint8_t> data(64 * 37);
  for (auto& b : data) b = static_cast<uint8_t>(rng.below(256));
  uint32_t a[8], b[8];
  for (int i = 0; i < 8; ++i) a[i] = b[i] = static_cast<uint32_t>(rng.next());
  sha256_blocks(a, data.data(), 37);
  sha256_blocks_portable(b, data.data(), 37);
  EXPECT_TRUE(std::equal(a, a + 8, b));
}

TEST(Rng, KnownAnswers) {
  uint64_t state = 1234567;   // the values that Vigna's splitmix64.c prints for this seed
  EXPECT_EQ(splitmix64(state), 6457827717110365317ull);
  EXPECT_EQ(splitmix64(state), 3203168211198807973ull);
  EXPECT_EQ(splitmix64(state), 9817491932198370423ull);
  Rng a(42), b(42), c(43);
  EXPECT_EQ(a.next(), b.next());
  EXPECT_NE(a.next(), c.next());
}

TEST(Rng, BelowIsUniformAndInRange) {
  Rng rng(1);
  std::vector<int> count(7);
  for (int i = 0; i < 70000; ++i) ++count[rng.below(7)];
  for (int n : count) EXPECT_NEAR(n, 10000, 400);
  EXPECT_EQ(rng.below(1), 0u);
  for (int i = 0; i < 1000; ++i) EXPECT_LT(rng.below((1ull << 63) + 1), (1ull << 63) + 1);
  EXPECT_THROW(rng.below(0), Error);
}

TEST(Rng, UniformAndNormalHaveTheirMoments) {
  Rng rng(2);
  const int n = 200000;
  double sum = 0;
  for (int i = 0; i < n; ++i) {
    const double u = rng.uniform();
    ASSERT_TRUE(u >= 0 && u < 1);
    sum += u;
  }
  EXPECT_NEAR(sum / n, 0.5, 0.005);
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0;
  int inside = 0, far = 0;
  for (int i = 0; i < n; ++i) {
    const double x = rng.normal();
    m1 += x;
    m2 += x * x;
    m3 += x * x * x;
    m4 += x * x * x * x;
    inside += std::abs(x) < 1;
    far += std::abs(x) > 3;
  }
  EXPECT_NEAR(m1 / n, 0, 0.012);
  EXPECT_NEAR(m2 / n, 1, 0.016);
  EXPECT_NEAR(m3 / n, 0, 0.05);
  EXPECT_NEAR(m4 / n, 3, 0.12);
  EXPECT_NEAR(static_cast<double>(inside) / n, 0.682689, 0.005);
  EXPECT_NEAR(static_cast<double>(far) / n, 0.0026998, 0.0006);
}

TEST(Rng, ItemSeedsAreDistinctAndFixed) {
  std::set<uint64_t> seeds;
  for (uint64_t run = 0; run < 100; ++run)
    for (uint64_t item = 0; item < 100; ++item) seeds.insert(item_seed(run, item));
  EXPECT_EQ(seeds.size(), 10000u);
  EXPECT_EQ(item_seed(7, 3), item_seed(7, 3));
}

TEST(Rng, ShuffleIsAPermutationOfItsSeed) {
  std::vector<int> v(50), w;
  std::iota(v.begin(), v.end(), 0);
  w = v;
  Rng a(9), b(9);
  a.shuffle(v);
  EXPECT_NE(v, w);
  auto again = w;
  b.shuffle(again);
  EXPECT_EQ(v, again);
  std::sort(v.begin(), v.end());
  EXPECT_EQ(v, w);
}

}  // namespace
}  // namespace microtome
