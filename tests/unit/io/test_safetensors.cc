#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "core/io/safetensors.h"
#include "tests/unit/base/temp_folder.h"

namespace microtome {
namespace {

using testing::slurp;
using testing::TempFolder;

std::span<const uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// A container made by hand: header text and data, with no check at all.
std::string container(const std::string& header, const std::string& data = "") {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(header.size() >> (8 * i) & 255);
  return out + header + data;
}

std::string refusal(const std::string& bytes) {
  const Result<SafetensorsFile> r = SafetensorsFile::parse(bytes_of(bytes), "f.safetensors");
  if (r) return "accepted";
  EXPECT_NE(r.status().where().find("f.safetensors"), std::string::npos) << r.status().text();
  EXPECT_EQ(r.status().exit_code(), 2) << r.status().text();
  return r.status().text();
}

#define EXPECT_REFUSED(bytes, part) EXPECT_NE(refusal(bytes).find(part), std::string::npos) << refusal(bytes)

TEST(Safetensors, ReadsTensorsInOrderOfOffset) {
  const std::string file = container(
      R"({"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},"a":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]},)"
      R"("__metadata__":{"k":"v"},"z":{"dtype":"F64","shape":[0,3],"data_offsets":[12,12]},)"
      R"("s":{"dtype":"I16","shape":[],"data_offsets":[12,14]}}   )", std::string(14, '\1'));
  const SafetensorsFile f = SafetensorsFile::parse(bytes_of(file), "f").value();
  ASSERT_EQ(f.tensors().size(), 4u);
  EXPECT_EQ(f.tensors()[0].name, "a");
  EXPECT_EQ(f.tensors()[1].name, "b");
  EXPECT_EQ(f.find("z")->count(), 0);
  EXPECT_EQ(f.find("s")->count(), 1);
  EXPECT_EQ(f.find("a")->count(), 4);
  EXPECT_EQ(f.find("b")->bytes, 8u);
  EXPECT_EQ(f.find("b")->data, f.find("a")->data + 4);
  EXPECT_EQ(f.find("missing"), nullptr);
  EXPECT_EQ(f.metadata().at("k"), "v");
  EXPECT_TRUE(SafetensorsFile::parse(bytes_of(container("{}")), "f").is_ok());
}

TEST(Safetensors, RefusesWithTheReason) {
  auto entry = [](const std::string& body, size_t data = 4) {
    return container("{\"t\":{" + body + "}}", std::string(data, 'x'));
  };
  EXPECT_REFUSED("", "empty");
  EXPECT_REFUSED("1234567", "too short");
  EXPECT_REFUSED(std::string(8, '\0'), "header length is 0");
  EXPECT_REFUSED(std::string(8, '\xff') + "{}", "header length is 18446744073709551615");
  EXPECT_REFUSED(container(" {}"), "not a JSON object");
  EXPECT_REFUSED(container("[]"), "not a JSON object");
  EXPECT_REFUSED(container("{]"), "not valid JSON");
  EXPECT_REFUSED(container("{\"t\":1}"), "not an object");
  EXPECT_REFUSED(entry(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])", 5), "1 bytes at the end");
  EXPECT_REFUSED(entry(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])", 3), "cut short");
  EXPECT_REFUSED(entry(R"("dtype":"F32","shape":[1],"data_offsets":[1,5])", 5), "belong to no tensor");
  EXPECT_REFUSED(entry(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])"), "begins after its end");
  EXPECT_REFUSED(entry(R"("dtype":"F32","shape":[1],"data_offsets":[-1,3])"), "integer from 0");
  EXPECT_REFUSED(entry(R"("dtype":"F32","shape":[1],"data_offsets":[0,4.0])"), "integer from 0");
  EXPECT_REFUSED(entry(R"("dtype":"F32","shape":[1],"data_offsets":[0])"), "[begin, end]");
  EXPECT_REFUSED(entry(R"("dtype":"F32","shape":[1])"), "'data_offsets' is missing");
  EXPECT_REFUSED(entry(R"("dtype":"F32","data_offsets":[0,4])"), "'shape' is missing");
  EXPECT_REFUSED(entry(R"("shape":[1],"data_offsets":[0,4])"), "'dtype' is missing");
  EXPECT_REFUSED(entry(R"("dtype":32,"shape":[1],"data_offsets":[0,4])"), "'dtype' is 32");
  EXPECT_REFUSED(entry(R"("dtype":"F33","shape":[1],"data_offsets":[0,4])"), "'F33', expected one of F64, F32");
  EXPECT_REFUSED(entry(R"("dtype":"C64","shape":[1],"data_offsets":[0,4])"), "dtype C64 is not supported");
  EXPECT_REFUSED(entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"), "make 8 bytes, data_offsets hold 4");
  EXPECT_REFUSED(entry(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])"), "integer from 0");
  EXPECT_REFUSED(entry(R"("dtype":"F32","shape":[1.5],"data_offsets":[0,4])"), "integer from 0");
  EXPECT_REFUSED(entry(R"("dtype":"F32","shape":["1"],"data_offsets":[0,4])"), "integer from 0");
  EXPECT_REFUSED(entry(R"("dtype":"F32","shape":1,"data_offsets":[0,4])"), "not a list");
  const std::string big = "4611686018427387904";     // 2^62
  EXPECT_REFUSED(entry("\"dtype\":\"U8\",\"shape\":[" + big + ",4],\"data_offsets\":[0,0]", 0), "overflows");
  const std::string zero_first = "\"dtype\":\"U8\",\"shape\":[0," + big + "," + big + "],\"data_offsets\":[0,0]";
  EXPECT_REFUSED(entry(zero_first, 0), "overflows");
  EXPECT_REFUSED(entry("\"dtype\":\"F64\",\"shape\":[" + big + "],\"data_offsets\":[0,0]", 0), "overflows");
  std::string ones = "1";
  for (int i = 0; i < 64; ++i) ones += ",1";
  EXPECT_REFUSED(entry("\"dtype\":\"U8\",\"shape\":[" + ones + "],\"data_offsets\":[0,1]", 1), "65 dimensions");
  EXPECT_REFUSED(container(R"({"__metadata__":{"a":1}})"), "not a text");
  EXPECT_REFUSED(container(R"({"__metadata__":[]})"), "not an object");
  EXPECT_REFUSED(container("{\"t\":" + std::string(100000, '[')), "nested deeper");
}

TEST(Safetensors, NamesWhatWasTakenForWeights) {
  EXPECT_REFUSED("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull");
  EXPECT_REFUSED("\n <!DOCTYPE HTML><html></html>", "HTML page");
  EXPECT_REFUSED("<html><body>404</body></html>", "HTML page");
  EXPECT_REFUSED(std::string("PK\x03\x04") + std::string(60, '\0'), "pickle");
  EXPECT_REFUSED("GGUF" + std::string(60, '\0'), "GGUF");
}

TEST(Safetensors, HostileNamesAreEscapedInMessages) {
  const std::string text = refusal(container("{\"\\u001b[2J\":1}"));
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_NE(text.find("\\x1b[2J"), std::string::npos);
}

TEST(Safetensors, OpenRefusesWhatIsNoRegularFile) {
  const TempFolder folder;
  EXPECT_EQ(SafetensorsFile::open(folder / "none").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(SafetensorsFile::open(folder.str()).status().code(), StatusCode::kBadInput);
  EXPECT_EQ(SafetensorsFile::open("/dev/zero").status().code(), StatusCode::kBadInput);
  const std::string fifo = folder / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(SafetensorsFile::open(fifo).status().code(), StatusCode::kBadInput);
  EXPECT_EQ(SafetensorsFile::open(folder.put("empty", "")).status().code(), StatusCode::kBadInput);
}

TEST(Safetensors, TheMappingOutlivesTheObjectThroughKeepAlive) {
  const TempFolder folder;
  const std::string path = folder.put(
      "t.safetensors", container(R"({"t":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", "abc"));
  std::shared_ptr<const void> keep;
  const uint8_t* data = nullptr;
  {
    const SafetensorsFile f = SafetensorsFile::open(path).value();
    keep = f.keep_alive();
    data = f.find("t")->data;
  }
  EXPECT_EQ(std::memcmp(data, "abc", 3), 0);
}

std::vector<TensorToWrite> sample(const std::vector<float>& f, const std::vector<uint8_t>& u) {
  return {{"u", DType::kU8, {3}, u},
          {"f", DType::kF32, {2, 1}, {reinterpret_cast<const uint8_t*>(f.data()), f.size() * 4}},
          {"none", DType::kI64, {0}, {}}};
}

TEST(SafetensorsWrite, WhatIsWrittenIsReadAndAligned) {
  const TempFolder folder;
  const std::vector<float> f = {1.5f, -2};
  const std::vector<uint8_t> u = {1, 2, 3};
  const std::string path = folder / "out.safetensors";
  const std::map<std::string, std::string> metadata = {{"k\n", "é\"\\"}};
  ASSERT_TRUE(write_safetensors(path, sample(f, u), metadata));
  EXPECT_EQ(folder.entries(), 1u);
  const SafetensorsFile r = SafetensorsFile::open(path).value();
  EXPECT_EQ(r.metadata(), metadata);
  ASSERT_NE(r.find("f"), nullptr);
  EXPECT_EQ(std::memcmp(r.find("f")->data, f.data(), 8), 0);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(r.find("f")->data) % 4, 0u);
  EXPECT_EQ(r.find("f")->shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(r.find("none")->bytes, 0u);
  const std::vector<uint8_t> bytes = safetensors_bytes(sample(f, u), metadata);
  EXPECT_EQ(slurp(path), std::string(bytes.begin(), bytes.end()));
}

TEST(SafetensorsWrite, RefusesWhatItCouldNotReadBack) {
  const std::vector<uint8_t> u = {1, 2, 3};
  EXPECT_THROW(safetensors_bytes({{"a", DType::kU8, {2}, u}}), Error);
  EXPECT_THROW(safetensors_bytes({{"a", DType::kU8, {-3}, u}}), Error);
  EXPECT_THROW(safetensors_bytes({{"a", DType::kU8, {3}, u}, {"a", DType::kU8, {3}, u}}), Error);
  EXPECT_THROW(safetensors_bytes({{"__metadata__", DType::kU8, {3}, u}}), Error);
  EXPECT_THROW(safetensors_bytes({{"\xff", DType::kU8, {3}, u}}), Error);
}

TEST(SafetensorsWrite, AFullDiskLeavesTheOldFile) {
  const TempFolder folder;
  const std::string path = folder.put("out.safetensors", "old");
  const std::vector<uint8_t> big(1 << 20);
  auto* old_handler = ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit now{4096, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &now);
  const Status status = write_safetensors(path, {{"a", DType::kU8, {1 << 20}, big}});
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(status.code(), StatusCode::kFailed) << status.text();
  EXPECT_EQ(slurp(path), "old");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(Arrays, RoundTripWithAxesUnitsAndOrder) {
  NamedArray i{"i", {"prompt"}, {2}, std::vector<int64_t>{-1, 1ll << 40}, "tokens", "ids"};
  NamedArray d{"d", {}, {}, std::vector<double>{0.1}, "nats", "é"};
  NamedArray f{"f", {"layer", "pos"}, {2, 2}, std::vector<float>{1, 2, 3, NAN}, "", ""};
  const auto bytes = arrays_to_bytes({i, f, d});
  const auto back = arrays_from_bytes(bytes, "mem").value();
  ASSERT_EQ(back.size(), 3u);
  EXPECT_EQ(back[0].name, "i");
  EXPECT_EQ(back[1].name, "f");
  EXPECT_EQ(back[2].name, "d");
  EXPECT_EQ(back[0].data, i.data);
  EXPECT_EQ(back[1].axes, f.axes);
  EXPECT_EQ(back[1].at(2), 3);
  EXPECT_TRUE(std::isnan(back[1].at(3)));
  EXPECT_EQ(back[2].at(0), 0.1);
  EXPECT_EQ(back[2].unit, "nats");
  EXPECT_EQ(back[2].help, "é");
  EXPECT_EQ(back[2].shape.size(), 0u);
  const TempFolder folder;
  ASSERT_TRUE(write_arrays(folder / "a.safetensors", {f}));
  EXPECT_EQ(read_arrays(folder / "a.safetensors").value()[0].axes[1], "pos");
  EXPECT_EQ(write_arrays(folder / "b.safetensors", {NamedArray{"x", {}, {1}, std::vector<float>{1}, "", ""}}).code(),
            StatusCode::kInternal);
}

TEST(Arrays, ReadsEveryNumericType) {
  const std::vector<uint16_t> half = {0x3C00, 0xC000, 0x0001, 0x8000, 0x7C00, 0x7BFF};   // 1, -2, 2^-24, -0, inf, 65504
  const std::vector<uint16_t> bf16 = {0x3F80, 0xC000};
  const std::vector<uint8_t> flags = {0, 1};
  const std::vector<int8_t> i8 = {-128, 127};
  const std::vector<uint32_t> u32 = {0xFFFFFFFFu};
  auto raw = [](const auto& v) {
    return std::span<const uint8_t>(reinterpret_cast<const uint8_t*>(v.data()), v.size() * sizeof(v[0]));
  };
  const auto bytes = safetensors_bytes({{"half", DType::kF16, {6}, raw(half)},
                                        {"bf16", DType::kBF16, {2}, raw(bf16)},
                                        {"bool", DType::kBool, {2}, raw(flags)},
                                        {"i8", DType::kI8, {2}, raw(i8)},
                                        {"u32", DType::kU32, {1}, raw(u32)}});
  std::map<std::string, NamedArray> by_name;
  const std::vector<NamedArray> arrays = arrays_from_bytes(bytes, "mem").value();
  for (const auto& a : arrays) by_name[a.name] = a;
  const NamedArray& h = by_name.at("half");
  EXPECT_EQ(h.at(0), 1);
  EXPECT_EQ(h.at(1), -2);
  EXPECT_EQ(h.at(2), std::ldexp(1, -24));
  EXPECT_TRUE(h.at(3) == 0 && std::signbit(h.at(3)));
  EXPECT_TRUE(std::isinf(h.at(4)));
  EXPECT_EQ(h.at(5), 65504);
  EXPECT_EQ(h.axes[0], "dim0");
  EXPECT_EQ(by_name.at("bf16").at(1), -2);
  EXPECT_EQ(by_name.at("bool").at(1), 1);
  EXPECT_EQ(by_name.at("i8").at(0), -128);
  EXPECT_EQ(by_name.at("u32").at(0), 4294967295.0);
  const std::vector<uint64_t> u64 = {~uint64_t{0}};
  EXPECT_EQ(arrays_from_bytes(safetensors_bytes({{"u", DType::kU64, {1}, raw(u64)}}), "m").status().code(),
            StatusCode::kUnsupported);
}

TEST(Arrays, MetadataThatDoesNotFitIsRefused) {
  const std::vector<uint8_t> u = {1};
  auto code = [&](const std::string& arrays) {
    const auto bytes = safetensors_bytes({{"a", DType::kU8, {1}, u}}, {{"arrays", arrays}});
    return arrays_from_bytes(bytes, "mem").status().code();
  };
  EXPECT_EQ(code(R"([{"name":"a","axes":["x"]}])"), StatusCode::kOk);
  for (const char* text : {"", "{}", "[1]", R"([{"name":"b","axes":["x"]}])", R"([{"name":"a","axes":[]}])",
                           R"([{"name":"a"}])", R"([{"name":"a","axes":[1]}])",
                           R"([{"name":"a","axes":["x"]},{"name":"a","axes":["x"]}])"})
    EXPECT_EQ(code(text), StatusCode::kBadInput) << text;
}

}  // namespace
}  // namespace microtome
