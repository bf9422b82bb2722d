#include <gtest/gtest.h>

#include <cstring>

#include "core/io/npz.h"
#include "tests/unit/io/torch_bytes.h"

namespace microtome {
namespace {

using namespace testing;

std::span<const uint8_t> bytes_of(const std::string& s) { return {reinterpret_cast<const uint8_t*>(s.data()), s.size()}; }

std::string npy_of(const std::string& header, const std::string& data, int major = 1) {
  return "\x93NUMPY" + std::string(1, static_cast<char>(major)) + std::string(1, '\0') + le(header.size(), major == 1 ? 2 : 4) + header + data;
}
std::string npy(const std::string& descr, const std::string& order, const std::string& shape, const std::string& data, int major = 1) {
  return npy_of("{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }   \n", data, major);
}
std::string file_of(const std::string& array, const std::string& name = "a.npy") { return zip({{name, array}}); }

std::vector<float> values(const TensorEntry& t) {
  std::vector<float> out(t.bytes / sizeof(float));
  std::memcpy(out.data(), t.data, t.bytes);
  return out;
}
std::string some(std::initializer_list<float> v) {
  std::string out;
  for (const float f : v) out.append(reinterpret_cast<const char*>(&f), sizeof f);
  return out;
}

void expect_refused(const std::string& file, const std::string& part, StatusCode code = StatusCode::kBadInput) {
  const auto r = parse_npz(bytes_of(file), "f.npz");
  ASSERT_FALSE(r.is_ok()) << part;
  EXPECT_EQ(r.status().code(), code) << r.status().text();
  EXPECT_NE(r.status().text().find(part), std::string::npos) << r.status().text();
  EXPECT_LT(r.status().text().size(), 700u);
}

TEST(Npz, ReadsArraysInPlaceAndTransposesFortransOrder) {
  const std::string six = some({0, 1, 2, 3, 4, 5});
  const std::string file = zip({{"c.npy", npy("<f4", "False", "(2, 3)", six)}, {"f.npy", npy("<f4", "True", "(2, 3)", six, 2)}, {"flat.npy", npy("<f4", "True", "(6,)", six, 3)},
                                {"k.npy", npy("<i4", "False", "()", le(7, 4))}, {"half.npy", npy("<f2", "False", "(0, 4)", "")}, {"flags.npy", npy("|b1", "False", "(2,)", le(1, 2))}});
  const auto r = parse_npz(bytes_of(file), "f.npz");
  ASSERT_TRUE(r.is_ok()) << r.status().text();
  std::map<std::string, TensorEntry> by_name;
  for (const TensorEntry& t : r.value().tensors) by_name[t.name] = t;
  ASSERT_EQ(by_name.size(), 6u);
  EXPECT_EQ(by_name["c"].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(values(by_name["c"]), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(values(by_name["f"]), (std::vector<float>{0, 2, 4, 1, 3, 5}));     // element (r, c) is stored at r + 2 c
  EXPECT_EQ(values(by_name["flat"]), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(by_name["k"].shape, std::vector<int64_t>{});
  EXPECT_EQ(by_name["k"].dtype, DType::kI32);
  EXPECT_EQ(by_name["half"].dtype, DType::kF16);
  EXPECT_EQ(by_name["half"].bytes, 0u);
  EXPECT_EQ(by_name["flags"].dtype, DType::kBool);
}

TEST(Npz, HeadersAreDataAndNothingElse) {
  const std::string two = some({1, 2});
  expect_refused(file_of(npy("<f4", "False", "(3,)", two)), "needs 12 bytes, and it has 8");
  expect_refused(file_of(npy("<f4", "False", "(1,)", two)), "needs 4 bytes, and it has 8");
  expect_refused(file_of(npy("<f4", "False", "(9223372036854775807, 9223372036854775807)", two)), "overflows");
  expect_refused(file_of(npy("<f4", "False", "(99999999999999999999,)", two)), "overflows");
  expect_refused(file_of(npy("<f4", "False", "(-2,)", two)), "no integer from 0 on");
  expect_refused(file_of(npy("<f4", "False", "(2 + 0,)", two)), "')' is missing");
  expect_refused(file_of(npy("<f4", "__import__('os').system('true')", "(2,)", two)), "neither True nor False");
  expect_refused(file_of(npy("<f4", "False", "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2)", two)), "more than 32 dimensions");
  expect_refused(file_of(npy(">f4", "False", "(2,)", two)), "big-endian", StatusCode::kUnsupported);
  expect_refused(file_of(npy("|O", "False", "(2,)", "cos\nsystem\n.")), "pickles", StatusCode::kUnsupported);
  expect_refused(file_of(npy("<c8", "False", "(1,)", two)), "type '<c8'", StatusCode::kUnsupported);
  expect_refused(file_of(npy_of("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", two)), "records", StatusCode::kUnsupported);
  expect_refused(file_of(npy_of("{'descr': '<f4', 'shape': (2,), }", two)), "lacks descr, fortran_order or shape");
  expect_refused(file_of(npy_of("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", two)), "'descr' twice");
  expect_refused(file_of(npy_of("{'descr': '<f4', 'evil': 1, 'fortran_order': False, 'shape': (2,), }", two)), "the key 'evil'");
  expect_refused(file_of(npy_of("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), } + x", two)), "goes on after the end");
  expect_refused(file_of("\x93NUMPY\x01" + std::string(1, '\0') + le(60000, 2) + "{"), "cut short");
  expect_refused(file_of("\x93NUMPY\x02" + std::string(1, '\0') + le(0xfffffff0, 4) + "{"), "says it has 4294967280 bytes");
  expect_refused(file_of(npy("<f4", "False", "(2,)", two, 9)), "version is 9", StatusCode::kUnsupported);
  expect_refused(file_of("hello"), "no .npy array");
  expect_refused(file_of(npy("<f4", "False", "(2,)", two), "a.txt"), "no .npy array");
  expect_refused(zip({}), "holds no array");
  expect_refused(zip({{"a.npy", npy("<f4", "False", "(2,)", two), 8}}), "numpy.savez, not savez_compressed", StatusCode::kUnsupported);
  expect_refused("version https://git-lfs.github.com/spec/v1\n", "git-LFS pointer");
  expect_refused("", "shorter than a directory");
}

}  // namespace
}  // namespace microtome
