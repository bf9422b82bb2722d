#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <fstream>

#include "core/io/checkpoint.h"
#include "tests/unit/base/temp_folder.h"

namespace microtome {
namespace {

namespace fs = std::filesystem;
using testing::TempFolder;

std::string one_tensor(const std::string& name, const std::string& data = "abcd") {
  const auto bytes = safetensors_bytes({{name, DType::kU8, {static_cast<int64_t>(data.size())},
                                         {reinterpret_cast<const uint8_t*>(data.data()), data.size()}}});
  return {bytes.begin(), bytes.end()};
}

std::string refusal(const TempFolder& folder, StatusCode expected = StatusCode::kBadInput) {
  const Result<Checkpoint> r = Checkpoint::open(folder.str());
  if (r) return "accepted";
  EXPECT_EQ(r.status().code(), expected) << r.status().text();
  return r.status().text();
}

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST(Checkpoint, OpensASingleFile) {
  const TempFolder folder;
  folder.put("config.json", R"({"model_type":"x","limit":Infinity})");
  folder.put("model.safetensors", one_tensor("w"));
  const Checkpoint c = Checkpoint::open(folder.str()).value();
  EXPECT_EQ(c.names(), std::vector<std::string>{"w"});
  EXPECT_EQ(c.weight_bytes(), 4u);
  EXPECT_EQ(c.config()["model_type"], "x");
  EXPECT_EQ(c.find("v"), nullptr);
  EXPECT_EQ(c.folder(), folder.str());
  ASSERT_NE(c.find("w"), nullptr);
  EXPECT_EQ(c.find("w")->data[0], 'a');
}

TEST(Checkpoint, OpensShardsAndPrefersWhatTheIndexSays) {
  const TempFolder folder;
  folder.put("config.json", "{}");
  folder.put("a.safetensors", one_tensor("w", "1111"));
  folder.put("b.safetensors", one_tensor("v", "2222"));
  folder.put("model.safetensors.index.json", R"({"weight_map":{"w":"a.safetensors","v":"b.safetensors"}})");
  const Checkpoint c = Checkpoint::open(folder.str()).value();
  EXPECT_EQ(c.names(), (std::vector<std::string>{"v", "w"}));
  EXPECT_EQ(c.find("v")->data[0], '2');
  // The same tensor in both: the index decides; where it does not, the file is refused.
  folder.put("b.safetensors", [] {
    const std::vector<uint8_t> d = {9};
    const auto b = safetensors_bytes({{"v", DType::kU8, {1}, d}, {"w", DType::kU8, {1}, d}});
    return std::string(b.begin(), b.end());
  }());
  EXPECT_EQ(Checkpoint::open(folder.str()).value().find("w")->data[0], '1');
  folder.put("model.safetensors.index.json", R"({"weight_map":{"v":"b.safetensors","x":"a.safetensors"}})");
  EXPECT_HAS(refusal(folder), "'w' is in two shards");
}

TEST(Checkpoint, NamesWhatIsMissing) {
  EXPECT_EQ(Checkpoint::open("/no/such/folder").status().code(), StatusCode::kNotFound);
  const TempFolder folder;
  EXPECT_EQ(Checkpoint::open(folder.put("file", "")).status().code(), StatusCode::kBadInput);
  EXPECT_HAS(refusal(folder, StatusCode::kNotFound), "config.json is missing");
  folder.put("config.json", "{}");
  EXPECT_HAS(refusal(folder, StatusCode::kNotFound), "neither model.safetensors nor");
  folder.put("model.pt", "PK\x03\x04");
  EXPECT_HAS(refusal(folder, StatusCode::kUnsupported), "re-save the model as safetensors");
  folder.put("pytorch_model.bin", "PK\x03\x04");
  EXPECT_HAS(refusal(folder), "zip archive is damaged");
  folder.put("model.safetensors.index.json", R"({"weight_map":{"w":"a.safetensors"}})");
  EXPECT_HAS(refusal(folder, StatusCode::kNotFound), "shard 'a.safetensors' is missing");
  folder.put("a.safetensors", one_tensor("other"));
  EXPECT_HAS(refusal(folder), "'w' is not in the shard 'a.safetensors'");
}

TEST(Checkpoint, RefusesABadConfig) {
  const TempFolder folder;
  folder.put("model.safetensors", one_tensor("w"));
  folder.put("config.json", "");
  EXPECT_HAS(refusal(folder), "config.json is empty");
  folder.put("config.json", " \n");
  EXPECT_HAS(refusal(folder), "config.json is empty");
  folder.put("config.json", "{\"a\": ");
  EXPECT_HAS(refusal(folder), "at byte 6");
  folder.put("config.json", "[1]");
  EXPECT_HAS(refusal(folder), "not a JSON object");
  folder.put("config.json", "{\"eps\": NaN}");
  EXPECT_HAS(refusal(folder), "NaN");
  folder.put("config.json", "{\"a\":1,\"a\":2}");
  EXPECT_HAS(refusal(folder), "'a' occurs twice");
  folder.put("config.json", std::string(100000, '['));
  EXPECT_HAS(refusal(folder), "nested deeper");
  fs::remove(folder / "config.json");
  ASSERT_EQ(::mkfifo((folder / "config.json").c_str(), 0600), 0);
  EXPECT_HAS(refusal(folder), "not a regular file");
}

// Every escape leads to a file that would load, so only the refusal keeps it out.
TEST(Checkpoint, ShardNamesCannotLeaveTheFolder) {
  const TempFolder root;
  root.put("outside.safetensors", one_tensor("w"));
  root.put("m/config.json", "{}");
  root.put("m/sub/in.safetensors", one_tensor("w"));
  root.put("m/..\\outside.safetensors", one_tensor("w"));
  const std::string folder = root / "m";
  for (const std::string& name :
       {std::string("../outside.safetensors"), root / "outside.safetensors", std::string("sub/in.safetensors"),
        std::string("./sub/../../outside.safetensors"), std::string("..\\\\outside.safetensors"),
        std::string("C:outside.safetensors"), std::string(".."), std::string("."), std::string(""),
        std::string("a\\u0000.safetensors")}) {
    root.put("m/model.safetensors.index.json", "{\"weight_map\":{\"w\":\"" + name + "\"}}");
    const Result<Checkpoint> r = Checkpoint::open(folder);
    ASSERT_FALSE(r.is_ok()) << name;
    EXPECT_HAS(r.status().text(), "only a plain file name");
  }
  for (const char* text :
       {"", "[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{}})", R"({"weight_map":{"w":1}})"}) {
    root.put("m/model.safetensors.index.json", text);
    EXPECT_EQ(Checkpoint::open(folder).status().code(), StatusCode::kBadInput) << text;
  }
  root.put("m/model.safetensors.index.json", R"({"weight_map":{"w":"pytorch_model.bin"}})");
  EXPECT_EQ(Checkpoint::open(folder).status().code(), StatusCode::kUnsupported);
}

TEST(Checkpoint, LinksThatLeaveTheFolderAreRefused) {
  const TempFolder root;
  root.put("elsewhere/model.safetensors", one_tensor("w"));
  root.put("elsewhere/config.json", "{}");
  root.put("m/config.json", "{}");
  fs::create_symlink(root / "elsewhere/model.safetensors", root / "m/model.safetensors");
  EXPECT_HAS(Checkpoint::open(root / "m").status().text(), "leaves the model folder");
  fs::remove(root / "m/model.safetensors");
  root.put("m/weights", one_tensor("w"));
  fs::create_symlink("weights", root / "m/model.safetensors");
  EXPECT_TRUE(Checkpoint::open(root / "m").is_ok());
  fs::remove(root / "m/config.json");
  fs::create_symlink("../elsewhere/config.json", root / "m/config.json");
  EXPECT_HAS(Checkpoint::open(root / "m").status().text(), "leaves the model folder");
  fs::remove(root / "m/config.json");
  fs::create_symlink("nothing", root / "m/config.json");
  EXPECT_EQ(Checkpoint::open(root / "m").status().code(), StatusCode::kNotFound);
  // The folder itself may be reached through a link.
  fs::create_symlink("elsewhere", root / "link");
  EXPECT_TRUE(Checkpoint::open(root / "link").is_ok());
}

TEST(Checkpoint, AHubCachesSnapshotIsRead) {
  const TempFolder root;
  root.put("models--a--b/blobs/0123", one_tensor("w"));
  root.put("models--a--b/blobs/4567", "{}");
  root.put("models--c--d/blobs/89ab", one_tensor("w"));
  const std::string snapshot = root / "models--a--b/snapshots/rev";
  fs::create_directories(snapshot);
  fs::create_symlink("../../blobs/4567", snapshot + "/config.json");
  fs::create_symlink("../../blobs/0123", snapshot + "/model.safetensors");
  const Result<Checkpoint> good = Checkpoint::open(snapshot);
  ASSERT_TRUE(good.is_ok()) << good.status().text();
  EXPECT_EQ(good.value().names(), std::vector<std::string>{"w"});
  root.put("models--a--b/blobs/0123", "short");
  EXPECT_HAS(Checkpoint::open(snapshot).status().text(), "rev/model.safetensors");     // the name that a person knows
  fs::remove(snapshot + "/model.safetensors");
  fs::create_symlink("../../../models--c--d/blobs/89ab", snapshot + "/model.safetensors");
  EXPECT_HAS(Checkpoint::open(snapshot).status().text(), "leaves the model folder");
}

TEST(Checkpoint, TheHashDependsOnContentAndNotOnShards) {
  auto hash = [](const TempFolder& f) { return Checkpoint::open(f.str()).value().weights_hash().value(); };
  const std::vector<uint8_t> d = {1, 2}, e = {1, 3};
  auto both = [](const std::vector<uint8_t>& a, const std::vector<uint8_t>& b, std::vector<int64_t> shape = {2}) {
    const auto bytes = safetensors_bytes({{"a", DType::kU8, shape, a}, {"b", DType::kU8, {2}, b}});
    return std::string(bytes.begin(), bytes.end());
  };
  const TempFolder one, two;
  one.put("config.json", "{}");
  one.put("model.safetensors", both(d, e));
  two.put("config.json", "{}");
  two.put("x.safetensors", one_tensor("b", "\1\3"));
  two.put("y.safetensors", one_tensor("a", "\1\2"));
  two.put("model.safetensors.index.json", R"({"weight_map":{"a":"y.safetensors","b":"x.safetensors"}})");
  const std::string base = hash(one);
  EXPECT_EQ(base.size(), 64u);
  EXPECT_EQ(base, hash(two));
  one.put("model.safetensors", both(e, d));
  EXPECT_NE(base, hash(one));
  one.put("model.safetensors", both(d, e, {1, 2}));
  EXPECT_NE(base, hash(one));
  one.put("model.safetensors", both(d, e));
  EXPECT_EQ(base, hash(one));
  one.put("config.json", "{ }");
  EXPECT_NE(base, hash(one));
}

size_t status_kib(const char* field) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(field)) return std::stoul(line.substr(std::string(field).size() + 1));
  return 0;
}

TEST(Checkpoint, HashingDoesNotFillTheMemory) {
  const TempFolder folder;
  folder.put("config.json", "{}");
  {
    const std::vector<uint8_t> big(size_t{192} << 20, 7);
    ASSERT_TRUE(write_safetensors(folder / "model.safetensors", {{"w", DType::kU8, {192 << 20}, big}}));
  }
  const Checkpoint c = Checkpoint::open(folder.str()).value();
  std::ofstream("/proc/self/clear_refs") << 5;      // the peak starts anew
  const size_t before = status_kib("VmRSS:");
  const std::string first = c.weights_hash().value();
  const size_t peak = status_kib("VmHWM:");
  ASSERT_GT(before, 0u);
  EXPECT_LT(peak, before + (size_t{64} << 10)) << "the whole file stayed in memory";
  EXPECT_EQ(c.weights_hash().value(), first);
}

}  // namespace
}  // namespace microtome
