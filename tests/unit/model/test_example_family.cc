// The family that core/families/README.md shows: it is the file beside this one, and it runs.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "core/families/registry.h"
#include "core/model/model.h"
#include "core/model/weights.h"

namespace microtome {

namespace families {
void register_example(Registry& registry);
}

namespace {

std::string text_of(const std::string& path) { return read_text_file(std::string(MICROTOME_SOURCE_DIR) + "/" + path).value(); }

TEST(ExampleFamily, IsWhatTheReadmeShows) {
  const std::string readme = text_of("core/families/README.md"), code = text_of("tests/unit/model/example_family.cc");
  EXPECT_NE(readme.find("```cpp\n" + code + "```\n"), std::string::npos) << "copy example_family.cc into the README";
  EXPECT_LE(std::count(readme.begin(), readme.end(), '\n'), 200);
}

TEST(ExampleFamily, RunsAndRefuses) {
  at::NoGradGuard no_grad;
  families::Registry registry;
  families::register_example(registry);
  const Family* family = registry.find("example");
  ASSERT_NE(family, nullptr);
  Json config = {{"vocabulary", 50}, {"width", 16}, {"positions", 12}, {"heads", 4}, {"layers", 2}};
  ModelConfig c = family->read_config(config, "config.json");
  c.family = family->name;
  check_config(c, "config.json");
  auto weights = random_weights(*family, c, at::kCPU, at::kFloat, 1);
  EXPECT_TRUE(weights->find("blocks.1.attn.o_proj.weight").defined());
  EXPECT_EQ(weights->get("blocks.1.mlp.up.weight").sizes(), (std::vector<int64_t>{64, 16}));
  Model model(c, weights);
  at::Tensor ids = at::arange(12).view({1, 12});
  at::Tensor logits = model.forward(ids).logits;
  EXPECT_EQ(logits.sizes(), (std::vector<int64_t>{1, 12, 50}));
  EXPECT_TRUE(logits.isfinite().all().item<bool>());
  // Causal: the last token changes nothing before it.
  at::Tensor other = ids.clone();
  other[0][11] = 40;
  EXPECT_TRUE(model.forward(other).logits.narrow(1, 0, 11).allclose(logits.narrow(1, 0, 11)));
  config["heads"] = 3;
  try {
    family->read_config(config, "config.json");
    FAIL() << "3 heads of 16 channels";
  } catch (const Error& e) {
    EXPECT_NE(e.status().text().find("width 16 does not divide by heads 3"), std::string::npos) << e.status().text();
  }
}

}  // namespace
}  // namespace microtome
