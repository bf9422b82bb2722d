#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/io/checkpoint.h"
#include "core/io/torch_file.h"
#include "tests/unit/base/temp_folder.h"
#include "tests/unit/io/torch_bytes.h"

namespace microtome {
namespace {

using namespace testing;

std::span<const uint8_t> bytes_of(const std::string& s) { return {reinterpret_cast<const uint8_t*>(s.data()), s.size()}; }

std::vector<float> values(const TensorEntry& t) {
  std::vector<float> out(t.bytes / sizeof(float));
  std::memcpy(out.data(), t.data, t.bytes);
  return out;
}

using Shape = std::vector<int64_t>;
using Floats = std::vector<float>;

void expect_refused(const std::string& file, const std::string& part, StatusCode code = StatusCode::kBadInput) {
  const auto r = parse_torch_file(bytes_of(file), "f.bin");
  ASSERT_FALSE(r.is_ok()) << part;
  EXPECT_EQ(r.status().code(), code) << r.status().text();
  EXPECT_NE(r.status().text().find(part), std::string::npos) << r.status().text();
  EXPECT_NE(r.status().text().find("f.bin"), std::string::npos) << r.status().text();
  EXPECT_LT(r.status().text().size(), 600u);
}
void expect_unsupported(const std::string& file, const std::string& part) {
  expect_refused(file, part, StatusCode::kUnsupported);
}

const std::string kSix = floats({0, 1, 2, 3, 4, 5});

std::string one(const std::string& storage_ops, int64_t offset, const Shape& shape, const Shape& strides,
                const std::string& data = kSix) {
  return torch_zip(dictionary({{"w", tensor(storage_ops, offset, shape, strides)}}), {{"0", data}});
}
std::string one(int64_t offset, const Shape& shape, const Shape& strides) {
  return one(storage("FloatStorage", "0", 6), offset, shape, strides);
}

TEST(TorchFile, ReadsTheZipInPlaceWithSharedStorages) {
  const std::string s = storage("FloatStorage", "0", 6);
  const std::string ops = dictionary({{"a", tensor(s, 0, {2, 3}, {3, 1})},
                                      {"tied", tensor(s, 0, {2, 3}, {3, 1})},
                                      {"row", tensor(s, 3, {3}, {1})},
                                      {"one", tensor(s, 5, {}, {})},
                                      {"none", tensor(s, 6, {0, 4}, {4, 1})},
                                      {"steps", "K\x07"},
                                      {"h", tensor(storage("HalfStorage", "1", 2), 0, {2, 1}, {1, 9})}});
  for (const bool zip64 : {false, true}) {
    const std::string file = torch_zip(ops, {{"0", kSix}, {"1", "abcd"}}, zip64);
    const auto r = parse_torch_file(bytes_of(file), "f.bin");
    ASSERT_TRUE(r.is_ok()) << r.status().text();
    const auto& t = r.value().tensors;
    ASSERT_EQ(t.size(), 6u);
    EXPECT_EQ(t[0].name, "a");
    EXPECT_EQ(t[0].shape, (Shape{2, 3}));
    EXPECT_EQ(t[0].dtype, DType::kF32);
    EXPECT_EQ(values(t[0]), (Floats{0, 1, 2, 3, 4, 5}));
    EXPECT_EQ(t[1].data, t[0].data);
    EXPECT_EQ(values(t[2]), (Floats{3, 4, 5}));
    EXPECT_EQ(values(t[3]), (Floats{5}));
    EXPECT_EQ(t[3].shape, Shape{});
    EXPECT_EQ(t[4].count(), 0);
    EXPECT_EQ(t[5].dtype, DType::kF16);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(t[5].data), t[5].bytes), "abcd");
    for (const auto& e : t)
      EXPECT_TRUE(e.bytes == 0 || (e.data > bytes_of(file).data() && e.data < bytes_of(file).data() + file.size()));
  }
}

TEST(TorchFile, StridesAreHonoured) {
  const auto read = [](const std::string& file) {
    const auto r = parse_torch_file(bytes_of(file), "f.bin");
    EXPECT_TRUE(r.is_ok()) << r.status().text();
    return r.is_ok() ? values(r.value().tensors.at(0)) : Floats{};
  };
  EXPECT_EQ(read(one(0, {3, 2}, {1, 3})), (Floats{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(read(one(1, {2, 2}, {3, 1})), (Floats{1, 2, 4, 5}));
  EXPECT_EQ(read(one(1, {3}, {2})), (Floats{1, 3, 5}));
  EXPECT_EQ(read(one(2, {3}, {0})), (Floats{2, 2, 2}));
  EXPECT_EQ(read(one(0, {1, 2, 3}, {77, 3, 1})), (Floats{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(read(one(0, {3, 1, 2}, {1, 0, 3})), (Floats{0, 3, 1, 4, 2, 5}));
}

TEST(TorchFile, ATensorCannotLeaveItsStorage) {
  expect_refused(one(0, {7}, {1}), "beyond the 6 elements");
  expect_refused(one(6, {1}, {1}), "beyond the 6 elements");
  expect_refused(one(4, {2, 3}, {3, 1}), "beyond the 6 elements");
  expect_refused(one(0, {2}, {6}), "beyond the 6 elements");
  expect_refused(one(-1, {2}, {1}), "no integer from 0 on");
  expect_refused(one(5, {2}, {-1}), "no integer from 0 on");
  expect_refused(one(0, {int64_t{1} << 62, 4}, {4, 1}), "overflows");
  expect_refused(one(0, {int64_t{1} << 40, int64_t{1} << 40, 0}, {0, 0, 1}), "overflows");
  expect_refused(one(0, {2, 3}, {1}), "differ in length");
  expect_unsupported(one(0, {int64_t{1} << 40}, {0}), "expanded");
  expect_refused(one(storage("FloatStorage", "0", 7), 0, {2}, {1}), "24 bytes in the file, not 7 elements");
  expect_refused(one(storage("FloatStorage", "0", int64_t{1} << 62), 0, {2}, {1}), "24 bytes in the file");
  expect_refused(one(storage("FloatStorage", "9", 6), 0, {2}, {1}), "'9' is not in the file");
  expect_refused(one(0, Shape(65, 1), Shape(65, 1)), "more than 64 dimensions");
  // Copies of transposed tensors are paid for by the file, not by how often it names them.
  Pairs many;
  const std::string big(400000, 'x');
  for (int i = 0; i < 4; ++i)
    many.push_back({"w" + std::to_string(i), tensor(storage("FloatStorage", "0", 100000), 0, {2, 50000}, {1, 2})});
  expect_unsupported(torch_zip(dictionary(many), {{"0", big}}), "more memory than twice");
}

TEST(TorchFile, ReadsThePlainStream) {
  const std::string s = storage("FloatStorage", "k1", 6, "N");
  const std::string ops = ordered_dict() + "(" + text("w") + tensor(s, 0, {3, 2}, {2, 1}) + text("b") +
                          tensor(storage("LongStorage", "k0", 1, "N"), 0, {1}, {1}) + text("v") +
                          tensor(storage("FloatStorage", "k1", 6, tuple({text("v1"), integer(2), integer(3)})), 1, {2}, {1}) +
                          "u" + "}" + text("_metadata") + ordered_dict() + "sb";
  const std::string file = torch_plain(ops, {{"k0", 1, le(77, 8)}, {"k1", 6, kSix}});
  const auto r = parse_torch_file(bytes_of(file), "f.bin");
  ASSERT_TRUE(r.is_ok()) << r.status().text();
  const auto& t = r.value().tensors;
  ASSERT_EQ(t.size(), 3u);
  EXPECT_EQ(values(t[0]), (Floats{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(t[1].dtype, DType::kI64);
  EXPECT_EQ(t[1].data[0], 77);
  EXPECT_EQ(values(t[2]), (Floats{3, 4}));

  for (size_t n = 0; n < file.size(); ++n)
    EXPECT_FALSE(parse_torch_file(bytes_of(file.substr(0, n)), "f.bin").is_ok()) << n;
  expect_refused(file + "x", "1 bytes at the end");
  expect_refused(torch_plain(ops, {{"k0", 1, le(77, 8)}, {"k1", 7, kSix}}), "'k1' has two sizes");
  expect_refused(torch_plain(ops, {{"k0", 1, le(77, 8)}}), "'k1' is not in the file");
  expect_refused(torch_plain(ops, {{"k0", 1, le(77, 8)}, {"k2", 6, kSix}}), "'k2', which no tensor uses");
  expect_refused(torch_plain(ops, {{"k0", 1, le(77, 8)}, {"k0", 1, le(77, 8)}}), "listed twice");
  expect_unsupported(torch_plain(ops, {}, "\x89"), "big-endian");
  expect_unsupported(stream("\x8a\x0a\x6d\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"), "none that torch.save wrote");
  expect_refused(torch_plain(dictionary({{"w", tensor(storage("FloatStorage", "a", 6), 0, {1}, {1})},
                                         {"v", tensor(storage("DoubleStorage", "a", 6), 0, {1}, {1})}}), {{"a", 6, kSix}}),
                 "described in two ways");
}

TEST(TorchFile, ReadsParametersTypedTensorsAndLaterProtocols) {
  const std::string s = storage("UntypedStorage", "0", 24);
  const std::string typed = global("torch._utils", "_rebuild_tensor_v3") +
                            tuple({s, integer(1), integers({2}), integers({1}), "\x89", ordered_dict(),
                                   global("torch", "float32")}) + "R";
  const std::string parameter = global("torch._utils", "_rebuild_parameter") +
                                tuple({tensor(storage("FloatStorage", "1", 6), 0, {2}, {1}), "\x88", ordered_dict()}) + "R";
  const std::string size = global("torch", "Size") + tuple({integers({1})}) + "R";
  const std::string ops = dictionary({{"t", typed}, {"p", parameter}, {"size", size}});
  const auto r = parse_torch_file(bytes_of(torch_zip(ops, {{"0", kSix}, {"1", kSix}})), "f.bin");
  ASSERT_TRUE(r.is_ok()) << r.status().text();
  ASSERT_EQ(r.value().tensors.size(), 2u);
  EXPECT_EQ(r.value().tensors[0].dtype, DType::kF32);
  EXPECT_EQ(r.value().tensors[0].shape, Shape{2});
  // Protocol 4: frames, short texts, memoised ones, globals from the stack.
  const auto brief = [](const std::string& t) { return "\x8c" + le(t.size(), 1) + t; };
  const std::string four = "\x95" + le(3, 8) + "}\x94(" + brief("w") + brief("torch._utils") +
                           brief("_rebuild_tensor_v2") + "\x93\x94(" +
                           storage("FloatStorage", "0", 6) + "K\x02" + "K\x03\x85K\x01\x85\x89" + brief("collections") +
                           brief("OrderedDict") + "\x93)RtR\x94u";
  const std::string file = zip({{"x/data.pkl", "\x80\x04" + four + "."}, {"x/data/0", kSix}}, false, "a comment");
  const auto q = parse_torch_file(bytes_of(file), "f.bin");
  ASSERT_TRUE(q.is_ok()) << q.status().text();
  EXPECT_EQ(values(q.value().tensors.at(0)), (Floats{2, 3, 4}));
  // Python 2's OrderedDict: the pairs are its argument, texts are byte strings.
  const std::string two = global("collections", "OrderedDict") + "](](U\x01w" +
                          tensor(storage("FloatStorage", "0", 6), 0, {1}, {1}) + "ee\x85R";
  EXPECT_TRUE(parse_torch_file(bytes_of(torch_zip(two, {{"0", kSix}})), "f.bin").is_ok());
}

std::string corpus(const std::string& name) {
  std::ifstream in(std::string(MICROTOME_SOURCE_DIR) + "/tests/fuzz/corpus/pickle/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Files that torch 2.11 wrote.
TEST(TorchFile, ReadsWhatTorchWrites) {
  for (const char* name : {"zip.bin", "plain.bin"}) {
    const std::string file = corpus(name);
    const auto r = parse_torch_file(bytes_of(file), name);
    ASSERT_TRUE(r.is_ok()) << r.status().text();
    const auto& t = r.value().tensors;
    ASSERT_EQ(t.size(), 5u);
    EXPECT_EQ(values(t[0]), (Floats{0, 1, 2, 3, 4, 5})) << name;
    EXPECT_EQ(t[1].shape, (Shape{3, 2}));
    EXPECT_EQ(values(t[1]), (Floats{0, 3, 1, 4, 2, 5})) << name;
    EXPECT_EQ(t[2].dtype, DType::kF16);
    EXPECT_EQ(t[3].dtype, DType::kI64);
    EXPECT_EQ(t[3].data[0], 3);
    EXPECT_EQ(t[4].name, "tied");
    EXPECT_EQ(t[4].data, t[0].data);
  }
  const std::string typed = corpus("typed.bin"), linear = corpus("linear.bin"), others = corpus("values.bin");
  const auto r = parse_torch_file(bytes_of(typed), "typed");
  ASSERT_TRUE(r.is_ok()) << r.status().text();
  std::string dtypes;
  for (const auto& t : r.value().tensors) dtypes += t.name + ":" + dtype_name(t.dtype) + " ";
  EXPECT_EQ(dtypes, "p:BF16 f:F8_E4M3 u:U16 empty:F32 ");
  const auto l = parse_torch_file(bytes_of(linear), "linear");
  ASSERT_TRUE(l.is_ok()) << l.status().text();
  EXPECT_EQ(l.value().tensors.size(), 2u);
  const auto o = parse_torch_file(bytes_of(others), "values");
  ASSERT_TRUE(o.is_ok()) << o.status().text();
  EXPECT_EQ(o.value().tensors.size(), 1u);
}

TEST(TorchFile, NamesWhateverIsNoTensorAndRunsNothing) {
  TempFolder folder;
  const std::string marker = folder / "was-run";
  for (const auto& [module, name] : std::vector<std::pair<std::string, std::string>>{
           {"os", "system"}, {"posix", "system"}, {"builtins", "eval"}, {"torch", "load"},
           {"torch._utils", "_rebuild_qtensor"}, {"numpy.core.multiarray", "_reconstruct"},
           {"torch", "ComplexFloatStorage"}, {"collections", "OrderedDict.update"}}) {
    const std::string call = global(module, name) + tuple({text("touch " + marker)}) + "R";
    const std::string stacked = text(module) + text(name) + "\x93" + tuple({text("touch " + marker)}) + "R";
    for (const std::string& ops : {call, stacked}) {
      expect_unsupported(torch_zip(dictionary({{"w", ops}}), {}), "'" + module + "." + name + "'");
      expect_unsupported(torch_plain(ops, {}), "'" + module + "." + name + "'");
      expect_unsupported(stream(ops), "'" + module + "." + name + "'");
    }
  }
  EXPECT_FALSE(std::filesystem::exists(marker));
  expect_unsupported(torch_zip(global("os\x1b[2J", "x"), {}), "'os\\x1b[2J.x'");
  for (const char* op : {"i", "o", "\x81", "\x92", "\x82", "P", "p", "S", "V", "I", "\x97", "\x98"})
    expect_unsupported(torch_zip(std::string(")") + op + "a\nb\n", {}), "opcode 0x");
  expect_unsupported(torch_zip(tuple({text("module"), "N", "N", "N", "N"}) + "Q", {}), "persistent id");
  expect_unsupported(torch_zip(tensor(storage("FloatStorage", "0", 6), 0, {1}, {1}) + "}b", {}), "sets the state");
  expect_unsupported(torch_zip(global("torch._utils", "_rebuild_tensor_v2") +
                     tuple({storage("FloatStorage", "0", 6), integer(0), integers({1}), integers({1}), "\x89",
                            ordered_dict(), dictionary({{"neg", "\x88"}})}) + "R", {{"0", kSix}}), "metadata");
  expect_refused(torch_zip(global("torch", "FloatStorage") + ")R", {}), "is called");
  expect_refused(torch_zip("})R", {}), "no global is called");
}

TEST(TorchFile, ThePicklesBoundsHold) {
  for (const auto& [ops, part] : std::vector<std::pair<std::string, std::string>>{
           {"0", "missing on its stack"}, {"t", "mark is missing"}, {"(0", "missing on its stack"}, {"h\x05", "never set"},
           {"}r\xff\xff\xff\xffh\x05", "memo index 4294967295"}, {"X\xff\xff\xff\xff", "ends within"},
           {"\x8d" + std::string(8, '\xff'), "ends within"}, {"\x95" + std::string(8, '\xff'), "frame"},
           {"}K\x01s", "missing"},
           {"}(K\x01u", "key without"}, {"K\x01(K\x02" "e", "no container"}, {"(", "inside a container"}, {"", "missing"},
           {"ccollections\nOrderedDict", "no end"}, {"c" + std::string(300, 'a'), "no end"}})
    expect_refused(torch_zip(ops, {}), part);
  expect_unsupported(zip({{"m/data.pkl", std::string("\x80\x00}.", 4)}}), "protocol 0");
  expect_refused(torch_zip(std::string((1 << 20) + 2, '('), {}), "stack grows");
  expect_refused(torch_zip("N" + std::string(size_t{2} << 21, '0'), {}), "missing on its stack");
  std::string values;
  for (int i = 0; i < (1 << 22) + 2; ++i) values += "N0";
  expect_unsupported(torch_zip(values, {}), "4194304 values");
  // One list of pairs, repeated by its memo: the copies are bounded.
  std::string pairs = "](";
  for (int i = 0; i < 100000; ++i) pairs += "NN\x86";
  pairs += "eq\x01\x85q\x02" + global("collections", "OrderedDict") + "q\x03";
  for (int i = 0; i < 1000; ++i) pairs += "h\x03h\x02R0";
  expect_unsupported(torch_zip(pairs, {}), "16777216 items");
  expect_unsupported(torch_zip("]", {}), "something else than a dictionary");
  expect_unsupported(torch_zip(dictionary({{"model", "}"}}), {}), "first key is 'model'");
  const std::string t = tensor(storage("FloatStorage", "0", 6), 0, {1}, {1});
  expect_refused(torch_zip(dictionary({{"w", t}, {"w", t}}), {{"0", kSix}}), "'w' is there twice");
  expect_refused(torch_zip(dictionary({{"\xff", t}}), {{"0", kSix}}), "no name that is text");
  // A dictionary that holds itself is read as data, too.
  expect_unsupported(torch_zip("}q\x01" + text("me") + "h\x01s", {}), "no tensor");
}

TEST(TorchFile, DamagedArchivesAreRefused) {
  const std::string ops = dictionary({{"w", tensor(storage("FloatStorage", "0", 6), 0, {6}, {1})}});
  for (const bool zip64 : {false, true}) {
    const std::string good = torch_zip(ops, {{"0", kSix}}, zip64);
    for (size_t n = 0; n < good.size(); ++n)
      EXPECT_FALSE(parse_torch_file(bytes_of(good.substr(0, n)), "f.bin").is_ok()) << n;
  }
  const Member pickle{"m/data.pkl", stream(ops)}, data{"m/data/0", kSix};
  expect_unsupported(zip({pickle, {"m/data/0", kSix, 8}}), "compressed member 'm/data/0'");
  expect_unsupported(zip({pickle, {"m/data/0", kSix, 0, 1}}), "encrypted");
  expect_refused(zip({pickle, data, data}), "there twice");
  expect_unsupported(zip({data}), "0 members data.pkl");
  expect_unsupported(zip({pickle, {"n/data.pkl", "x"}}), "2 members data.pkl");
  expect_unsupported(torch_zip(ops, {{"0", kSix}}, false, "big"), "byte order is 'big'");
  expect_refused(zip({{"m/data.pkl", stream(ops) + "x"}, data}), "follow the end");
  std::string file = zip({pickle, data});
  const size_t second = file.rfind("PK\x01\x02");
  std::string overlap = file;
  overlap.replace(second + 42, 4, le(0, 4));
  expect_refused(overlap, "has two names");
  std::string beyond = file;
  beyond.replace(second + 42, 4, le(file.size(), 4));
  expect_refused(beyond, "does not fit");
  expect_refused("", "empty");
  expect_refused("version https://git-lfs.github.com/spec/v1", "git-LFS");
  expect_refused("<!DOCTYPE html>", "HTML");
  expect_refused("something", "neither a zip archive nor a pickle");
}

TEST(TorchFile, CheckpointsOpenThemAndTheirShards) {
  TempFolder folder;
  folder.put("config.json", "{}");
  const auto shard = [](const std::string& name, const Floats& v, const Shape& shape, const Shape& strides) {
    const std::string s = storage("FloatStorage", "0", static_cast<int64_t>(v.size()));
    return torch_zip(dictionary({{name, tensor(s, 0, shape, strides)}}), {{"0", floats(v)}});
  };
  folder.put("pytorch_model-00001-of-00002.bin", shard("a", {1, 2}, {2}, {1}));
  folder.put("pytorch_model-00002-of-00002.bin", shard("b", {1, 2, 3, 4}, {2, 2}, {1, 2}));
  folder.put("pytorch_model.bin.index.json",
             R"({"weight_map":{"a":"pytorch_model-00001-of-00002.bin","b":"pytorch_model-00002-of-00002.bin"}})");
  const Checkpoint c = Checkpoint::open(folder.str()).value();
  EXPECT_EQ(c.names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(c.weight_bytes(), 24u);
  EXPECT_EQ(values(*c.find("b")), (Floats{1, 3, 2, 4}));
  // Hashing gives mapped pages back, but must leave the copy of the transposed tensor alone.
  const std::string hash = c.weights_hash().value();
  EXPECT_EQ(values(*c.find("b")), (Floats{1, 3, 2, 4}));
  folder.put("pytorch_model.bin", torch_zip(dictionary({{"b", tensor(storage("FloatStorage", "0", 4), 0, {2, 2}, {2, 1})},
                                                        {"a", tensor(storage("FloatStorage", "1", 2), 0, {2}, {1})}}),
                                            {{"0", floats({1, 3, 2, 4})}, {"1", floats({1, 2})}}));
  EXPECT_EQ(Checkpoint::open(folder.str()).value().weights_hash().value(), hash) << "the same tensors in another layout";
  std::filesystem::remove(folder / "pytorch_model.bin");
  folder.put("pytorch_model.bin.index.json", R"({"weight_map":{"a":"../x.bin"}})");
  EXPECT_NE(Checkpoint::open(folder.str()).status().text().find("plain file name"), std::string::npos);
  folder.put("pytorch_model.bin.index.json", R"({"weight_map":{"a":"x.safetensors"}})");
  EXPECT_EQ(Checkpoint::open(folder.str()).status().code(), StatusCode::kUnsupported);
  folder.put("pytorch_model.bin.index.json", R"({"weight_map":{"a":"x.bin"}})");
  EXPECT_EQ(Checkpoint::open(folder.str()).status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace microtome
