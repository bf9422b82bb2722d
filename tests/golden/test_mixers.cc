// Every mixer's op against its reference file: every case of it, in every form, in float32 and float64.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <ostream>
#include <set>

#include "core/base/json.h"
#include "core/io/safetensors.h"
#include "core/mixers/registry.h"
#include "tests/golden_path.h"
#include "tests/load_model.h"

namespace microtome {
namespace {

struct MixerFile {
  const char* name;
  size_t cases, in_repository;   // how many there are, and how many of them the repository holds (0: the file is too large)
  double float32 = 2e-6;         // allowed of the largest value, beside 1e-6
};
void PrintTo(const MixerFile& f, std::ostream* os) { *os << f.name; }

const MixerFile kFiles[] = {
    {"linear_attn", 8, 5}, {"retention", 4, 3}, {"simple_gla", 4, 3}, {"gla", 5, 3}, {"delta_rule", 6, 4},
    {"gated_delta_rule", 5, 3}, {"gated_delta_product", 4, 2}, {"kda", 7, 1}, {"comba", 4, 1}, {"dplr_delta_rule", 3, 1},
    {"rwkv4", 4, 2}, {"rwkv6", 4, 2}, {"rwkv7", 4, 1}, {"forgetting_attn", 2, 1}, {"mesa_net", 2, 2}, {"hgrn", 4, 3},
    {"hgrn2", 4, 0}, {"gsa", 5, 0}, {"abc", 2, 1}, {"lightning_attn", 4, 0}, {"rg_lru", 2, 2}, {"mlstm", 4, 0},
    {"mamba1", 2, 2}, {"mamba2", 4, 3}, {"log_linear_attn", 2, 1},
    {"cosine_attention", 3, 0}, {"icl_linear_self_attention", 3, 3}, {"based", 4, 0}, {"ttt_linear", 3, 3},
    {"titans_linear", 2, 2}, {"srwm", 2, 2}, {"latte", 2, 2}, {"aaren", 2, 1}, {"agalite", 2, 2}, {"flow_attention", 4, 3},
    {"linformer", 2, 2}, {"agent_attention", 2, 1}, {"soft", 2, 2}, {"lion", 4, 4}};

// Numbers and words that a case has beside its tensors, as the command line reads them.
MixerOpRequest request_of(const std::map<std::string, at::Tensor>& tensors, const std::string& name, const Json& about,
                          at::ScalarType type) {
  MixerOpRequest r;
  r.scalars.set("variant", name);
  for (const auto& [key, value] : about.items()) {
    if (value.is_boolean()) r.scalars.set(key, value.get<bool>());
    else if (value.is_number_integer()) r.scalars.set(key, value.get<int64_t>());
    else if (value.is_number()) r.scalars.set(key, value.get<double>());
    else if (value.is_string()) r.scalars.set(key, value.get<std::string>());
  }
  if (about.contains("log_gamma")) r.log_gamma = about.at("log_gamma").get<std::vector<double>>();
  // Files that hold both directions say which in the case's name.
  if (name.find("_bidir") != std::string::npos) r.scalars.set("causal", false);
  for (const Json& input : about.at("inputs")) {
    const std::string key = input.get<std::string>();
    r.inputs[key] = tensors.at(name + "." + key).to(type);
  }
  r.states = r.implied = true;
  return r;
}

class MixerGolden : public ::testing::TestWithParam<MixerFile> {};

TEST_P(MixerGolden, EveryCaseInEveryForm) {
  const MixerFile& file = GetParam();
  const std::string path = testing::golden_path(std::string("golden/mixers/") + file.name + ".safetensors");
  const char* root = std::getenv("MICROTOME_GOLDEN");
  const bool whole = root && *root && path.rfind(root, 0) == 0;
  if (path.empty() && file.in_repository == 0 && !(root && *root)) GTEST_SKIP() << "too large for the repository";
  ASSERT_FALSE(path.empty());
  const std::map<std::string, at::Tensor> tensors = testing::load_tensors(path);
  const Json cases = parse_json(SafetensorsFile::open(path).value().metadata().at("cases"), path).value();
  ASSERT_EQ(cases.size(), whole ? file.cases : file.in_repository);
  const MixerKind* kind = mixers::builtin().find(file.name);
  ASSERT_NE(kind, nullptr);
  std::vector<MixerForm> forms = {MixerForm::kNaive, MixerForm::kChunk, MixerForm::kAuto};
  const std::vector<MixerForm> layer = kind->info(kind->cases.front().params, kind->cases.front().d_model).forms;
  if (std::find(layer.begin(), layer.end(), MixerForm::kRecurrent) != layer.end()) forms.push_back(MixerForm::kRecurrent);
  for (const auto& [name, about] : cases.items()) {
    for (at::ScalarType type : {at::kDouble, at::kFloat}) {
      for (MixerForm form : forms) {
        MixerOpRequest r = request_of(tensors, name, about, type);
        r.form = form;
        const MixerOpResult result = kind->op(r);
        ASSERT_FALSE(about.at("outputs").empty());
        for (const Json& o : about.at("outputs")) {
          const std::string output = o.get<std::string>();
          SCOPED_TRACE(name + " " + output + ", form " + form_name(form) + ", " + c10::toString(type));
          ASSERT_TRUE(result.count(output));
          const at::Tensor &got = result.at(output), &want = tensors.at(name + "." + output);
          ASSERT_EQ(got.sizes(), want.sizes());
          if (want.scalar_type() == at::kLong) {
            EXPECT_TRUE(got.equal(want));
            continue;
          }
          EXPECT_EQ(got.scalar_type(), type);
          const double size = want.abs().max().item<double>();
          double allowed = type == at::kDouble ? 1e-12 * std::max(1.0, size) : 1e-6 + file.float32 * size;
          // x^2 is the sum of d^2 products that nearly cancel where x is near 0, and an early row may have no other key.
          if (type == at::kFloat && name.find("rebased") != std::string::npos) allowed = 4e-6 + 16e-6 * size;
          EXPECT_LE((got.to(at::kDouble) - want).abs().max().item<double>(), allowed) << "of " << size;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, MixerGolden, ::testing::ValuesIn(kFiles),
                         [](const auto& info) { return std::string(info.param.name); });

// A file that nothing is compared with would go unnoticed.
TEST(MixerFiles, AreAllCompared) {
  std::set<std::string> known = {"softmax_attention", "feature_maps"};   // test_mixers_softmax.cc, test_mixers_linear.cc
  for (const MixerFile& f : kFiles) known.insert(f.name);
  const std::filesystem::path folder = std::filesystem::path(testing::golden_path("golden/mixers/gla.safetensors")).parent_path();
  size_t found = 0;
  for (const auto& e : std::filesystem::directory_iterator(folder)) {
    EXPECT_TRUE(known.count(e.path().stem().string())) << e.path();
    ++found;
  }
  EXPECT_GT(found, 30u);
}

}  // namespace
}  // namespace microtome
