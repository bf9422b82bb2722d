// Dictionaries that SAELens wrote, read and run: its codes and its output.
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include <filesystem>

#include "core/base/json.h"
#include "core/dictionary/formats/format.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"
#include "tests/unit/base/temp_folder.h"

namespace microtome {
namespace {

using namespace testing;
namespace fs = std::filesystem;

struct Golden {
  const char* folder;
  const char* kind;
  bool transcoder, skip;
};
const Golden kGoldens[] = {{"sae-standard", "standard", false, false}, {"sae-standard-layernorm", "standard", false, false}, {"sae-standard-nobdec", "standard", false, false},
                           {"sae-gated", "gated", false, false}, {"sae-topk", "topk", false, false}, {"sae-topk-rescaled", "topk", false, false},
                           {"sae-batchtopk", "jumprelu", false, false}, {"sae-matryoshka-batchtopk", "jumprelu", false, false}, {"sae-jumprelu-step", "jumprelu", false, false},
                           {"sae-jumprelu-tanh", "jumprelu", false, false}, {"transcoder-relu", "standard", true, false}, {"transcoder-skip", "standard", true, true},
                           {"transcoder-jumprelu", "jumprelu", true, false}, {"transcoder-jumprelu-skip", "jumprelu", true, true}};

std::string bytes_of(const std::string& path) { return read_text_file(path).value(); }

TEST(SaeLensGoldens, ComputeWhatSaeLensComputes) {
  int found = 0;
  for (const Golden& g : kGoldens) {
    const std::string folder = golden_path(std::string("golden/analyses/") + g.folder);
    if (folder.empty()) continue;
    ++found;
    SCOPED_TRACE(g.folder);
    const DictionarySet set = read_dictionaries(folder);
    EXPECT_EQ(set.format, "saelens");
    ASSERT_EQ(set.members.size(), 1u);
    const Dictionary& d = set.members[0];
    EXPECT_EQ(d.config.kind, g.kind);
    EXPECT_EQ(d.config.transcoder, g.transcoder);
    EXPECT_EQ(d.config.skip, g.skip);
    EXPECT_EQ(d.config.d_in, 64);
    EXPECT_EQ(d.config.d_sae, 160);
    EXPECT_EQ(d.config.d_out, 64);
    EXPECT_EQ(d.config.dtype, "float32");
    const auto expected = load_tensors(folder + "/expected.safetensors");
    const at::Tensor x = expected.at("x");
    const at::Tensor codes = d.encode(x), out = d.decode(codes, x);
    EXPECT_TRUE(close(codes, expected.at(g.transcoder ? "feature_acts" : "inference.feature_acts"), 1e-4, 1e-4));
    EXPECT_TRUE(close(out, expected.at(g.transcoder ? "out" : "inference.reconstruction"), 1e-4, 1e-4));
    EXPECT_GT((codes > 0).sum().item<int64_t>(), 0);
  }
  EXPECT_GE(found, 4) << "the references of tests/golden/analyses are missing";
}

TEST(SaeLensGoldens, AreWrittenBackAsTheyWere) {
  for (const Golden& g : kGoldens) {
    const std::string folder = golden_path(std::string("golden/analyses/") + g.folder);
    if (folder.empty()) continue;
    SCOPED_TRACE(g.folder);
    TempFolder temp;
    write_dictionaries(read_dictionaries(folder), "saelens", temp / "again");
    EXPECT_EQ(read_json_file(temp / "again/cfg.json").value(), read_json_file(folder + "/cfg.json").value());
    const auto before = load_tensors(folder + "/sae_weights.safetensors"), after = load_tensors(temp / "again/sae_weights.safetensors");
    ASSERT_EQ(before.size(), after.size());
    for (const auto& [name, t] : before) EXPECT_TRUE(after.count(name) && at::equal(after.at(name), t)) << name;
  }
}

TEST(SaeLensGoldens, AFolderOfFoldersIsASet) {
  TempFolder temp;
  int members = 0;
  for (const char* name : {"sae-gated", "sae-topk", "transcoder-skip"}) {
    const std::string folder = golden_path(std::string("golden/analyses/") + name);
    if (folder.empty()) continue;
    for (const char* file : {"cfg.json", "sae_weights.safetensors"}) temp.put(std::string("all/") + name + "/" + file, bytes_of(folder + "/" + file));
    ++members;
  }
  ASSERT_GE(members, 2);
  const DictionarySet set = read_dictionaries(temp / "all");
  EXPECT_EQ(set.name, "all");
  ASSERT_EQ(set.members.size(), static_cast<size_t>(members));
  EXPECT_EQ(set.members[0].config.name, "sae-gated");
  EXPECT_EQ(set.layers, std::vector<int64_t>(static_cast<size_t>(members), -1));   // these name no hook
}

}  // namespace
}  // namespace microtome
