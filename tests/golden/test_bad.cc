// Broken and hostile model files: golden/bad/index.json says what each must do. Cases of which the files are not there
// (the repository keeps a subset) are left out; the counts below say how many must be.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/io/checkpoint.h"
#include "core/io/safetensors.h"
#include "tests/golden_path.h"

namespace microtome {
namespace {

using testing::golden_path;

struct Case {
  std::string name, kind, expect, folder;
  bool reference_opens = false;      // what the format's own library says of the container
};

std::vector<Case> cases(const std::set<std::string>& kinds) {
  const Json index = read_json_file(golden_path("golden/bad/index.json")).value();
  std::vector<Case> out;
  for (const Json& entry : index) {
    Case c;
    c.name = json_string(entry, "name", "index.json");
    c.kind = json_string(entry, "kind", "index.json");
    c.expect = json_string(entry, "expect", "index.json");
    c.reference_opens = json_string(entry, "reference_library", "", "index.json") == "opens";
    bool present = kinds.count(c.kind) != 0;
    for (const Json& file : entry.at("files"))
      present = present && !golden_path("golden/bad/" + c.name + "/" + file.get<std::string>()).empty();
    if (!present) continue;
    c.folder = golden_path("golden/bad/" + c.name);
    out.push_back(c);
  }
  return out;
}

long peak_kib() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

void expect_a_clear_error(const Status& status, const Case& c) {
  EXPECT_FALSE(status.is_ok()) << c.name << " was accepted";
  EXPECT_EQ(status.exit_code(), 2) << c.name << ": " << status.text();
  const std::string text = status.text();
  EXPECT_NE(text.find(c.name), std::string::npos) << "the message does not name the file: " << text;
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  EXPECT_LT(text.size(), 700u) << text;
}

TEST(Bad, Containers) {
  const long before = peak_kib();
  const std::vector<Case> all = cases({"container"});
  ASSERT_EQ(all.size(), 34u);
  for (const Case& c : all) {
    const Result<SafetensorsFile> r = SafetensorsFile::open(c.folder + "/model.safetensors");
    EXPECT_EQ(r.is_ok(), c.reference_opens) << c.name << ": the format's own library disagrees; " << r.status().text();
    if (c.expect == "error") {
      expect_a_clear_error(r.status(), c);
    } else {
      EXPECT_TRUE(r.is_ok()) << c.name << ": " << r.status().text();
      EXPECT_TRUE(r.is_ok() && !r.value().tensors().empty()) << c.name;
    }
    EXPECT_EQ(read_arrays(c.folder + "/model.safetensors").is_ok(), r.is_ok()) << c.name;
  }
  // The largest of these files is a few kilobytes; one declares a terabyte.
  EXPECT_LT(peak_kib() - before, 32l << 10);
}

TEST(Bad, TheMessagesSayWhatIsWrong) {
  const std::vector<std::pair<const char*, const char*>> parts = {
      {"lfs-pointer", "git-LFS pointer"},      {"html-not-safetensors", "HTML"},
      {"overlapping-offsets", "overlaps"},     {"gap-between-tensors", "belong to no tensor"},
      {"trailing-bytes", "13 bytes at the end"}, {"unknown-dtype", "F33"},
      {"shape-overflow", "overflows"},         {"shape-overflow-wrap-to-fit", "overflows"},
      {"duplicate-keys", "occurs twice"},      {"missing-data-offsets", "'data_offsets' is missing"},
      {"header-bad-utf8", "UTF-8"},            {"metadata-nonstring", "__metadata__"}};
  for (const auto& [name, part] : parts) {
    const std::string path = golden_path(std::string("golden/bad/") + name + "/model.safetensors");
    ASSERT_FALSE(path.empty()) << name;
    const std::string text = SafetensorsFile::open(path).status().text();
    EXPECT_NE(text.find(part), std::string::npos) << name << ": " << text;
  }
}

TEST(Bad, IndexesAndPickles) {
  const std::vector<Case> all = cases({"index", "pickle"});
  ASSERT_EQ(all.size(), 9u);
  for (const Case& c : all) {
    ASSERT_EQ(c.expect, "error") << c.name;
    const Status status = Checkpoint::open(c.folder).status();
    expect_a_clear_error(status, c);
    EXPECT_EQ(status.code() == StatusCode::kUnsupported, c.name == "pickle-global") << c.name;
    const auto says = [&](const char* part) { return status.text().find(part) != std::string::npos; };
    EXPECT_TRUE(c.name != "pickle-global" || says("'os.getcwd'")) << status.text();
    EXPECT_TRUE(c.name != "pickle-truncated" || says("no directory at its end")) << status.text();
    const bool escapes = c.name.ends_with("-path") || c.name == "index-path-traversal";
    EXPECT_EQ(status.text().find("plain file name") != std::string::npos, escapes) << status.text();
  }
}

// What is wrong with these shows before any model is built; the others are well-formed folders.
TEST(Bad, ConfigsThatAreNoConfigs) {
  const std::set<std::string> at_open = {"config-malformed", "config-empty",        "config-missing",
                                         "config-not-object", "config-deep-nesting", "config-nan-eps"};
  const long before = peak_kib();
  size_t seen = 0;
  for (const Case& c : cases({"config"})) {
    const Status status = Checkpoint::open(c.folder).status();
    if (at_open.count(c.name)) {
      ++seen;
      expect_a_clear_error(status, c);
    } else {
      EXPECT_TRUE(status.is_ok()) << c.name << ": " << status.text();
    }
  }
  EXPECT_EQ(seen, at_open.size());
  EXPECT_LT(peak_kib() - before, 32l << 10);
}

TEST(Bad, ModelsWithBadWeightsAreSoundContainers) {
  for (const Case& c : cases({"model"})) {
    const Result<Checkpoint> r = Checkpoint::open(c.folder);
    ASSERT_TRUE(r.is_ok()) << c.name << ": " << r.status().text();
    EXPECT_GT(r.value().weight_bytes(), 0u) << c.name;
  }
}

}  // namespace
}  // namespace microtome
