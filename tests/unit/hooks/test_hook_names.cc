// Names, globs, aliases and interventions.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/base/json.h"
#include "core/hooks/hook_plan.h"
#include "core/hooks/hook_point.h"
#include "core/hooks/intervention_json.h"

namespace microtome {
namespace {

HookCatalogue catalogue() {
  HookCatalogue c;
  c.add({"hook_embed", {"batch", "pos", "d_model"}, {-1, -1, 8}, false, ""});
  for (int i = 0; i < 12; ++i) {
    std::string b = "blocks." + std::to_string(i) + ".";
    c.add({b + "hook_resid_pre", {"batch", "pos", "d_model"}, {-1, -1, 8}, false, ""});
    c.add({b + "hook_resid_post", {"batch", "pos", "d_model"}, {-1, -1, 8}, false, ""});
    c.add({b + "attn.hook_z", {"batch", "pos", "head", "d_v"}, {-1, -1, 2, 4}, false, ""});
    c.add({b + "attn.hook_state", {"batch", "pos", "head", "d_k", "d_v"}, {-1, -1, 2, 4, 4}, true, ""});
    c.add({b + "mlp.hook_in", {"batch", "pos", "d_model"}, {-1, -1, 8}, false, ""});
  }
  c.add({"unembed.hook_out", {"batch", "pos", "vocab"}, {-1, -1, 9}, false, ""});
  return c;
}

TEST(HookNames, GlobsSelectWhatTheySay) {
  HookCatalogue c = catalogue();
  EXPECT_EQ(c.match("blocks.*.hook_resid_post").size(), 12u);
  EXPECT_EQ(c.match("blocks.{0,3}.hook_resid_pre"), (std::vector<std::string>{"blocks.0.hook_resid_pre", "blocks.3.hook_resid_pre"}));
  EXPECT_EQ(c.match("blocks.1?.attn.hook_z").size(), 2u);
  // A star stays inside one part of the name; a pattern without a dot may cross parts.
  EXPECT_EQ(c.match("blocks.*.hook_*").size(), 24u);
  EXPECT_EQ(c.match("*hook_z").size(), 12u);
  // An expensive point comes only when its own name is spelled out.
  EXPECT_EQ(c.match("blocks.*.attn.hook_state").size(), 12u);
  for (const std::string& n : c.match("blocks.0.attn.*")) EXPECT_EQ(n, "blocks.0.attn.hook_z");
}

TEST(HookNames, AliasesAreAcceptedAndNeverWritten) {
  HookCatalogue c = catalogue();
  EXPECT_EQ(c.match("blocks.2.hook_in"), std::vector<std::string>{"blocks.2.hook_resid_pre"});
  EXPECT_EQ(c.match("blocks.2.hook_out"), std::vector<std::string>{"blocks.2.hook_resid_post"});
  EXPECT_EQ(c.match("blocks.2.mlp.hook_in"), std::vector<std::string>{"blocks.2.mlp.hook_in"});
  EXPECT_EQ(c.match("blocks.2.mixer.hook_ssm_state"), std::vector<std::string>{"blocks.2.attn.hook_state"});
  EXPECT_EQ(c.match("embed.hook_out"), std::vector<std::string>{"hook_embed"});
  EXPECT_EQ(c.match("unembed.hook_logits"), std::vector<std::string>{"unembed.hook_out"});
}

TEST(HookNames, AnUnknownNameListsTheNearest) {
  HookCatalogue c = catalogue();
  try {
    c.match("blocks.5.attn.hook_zz");
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.status().exit_code(), 2);
    EXPECT_NE(e.status().text().find("blocks.5.attn.hook_z"), std::string::npos);
  }
  EXPECT_THROW(c.match("blocks.{0,1.hook_resid_pre"), Error);
  EXPECT_THROW(c.match("blocks.{0,1}{0,1}{0,1}{0,1}{0,1}{0,1}{0,1}{0,1}{0,1}{0,1}{0,1}{0,1}{0,1}{0,1}"), Error);
  EXPECT_EQ(c.nearest("blocks.11.hook_resid_poss", 1), std::vector<std::string>{"blocks.11.hook_resid_post"});
}

TEST(Interventions, ActWhereTheyAreTold) {
  at::Tensor v = at::arange(2 * 3 * 2 * 2, at::kDouble).view({2, 3, 2, 2});
  std::vector<std::string> axes{"batch", "pos", "head", "d_v"};
  Intervention i;
  i.hook = "h";
  i.where = {{"pos", {1, -1}}, {"head", {0}}};
  i.value = 0;
  at::Tensor zeroed = apply_intervention(i, v, axes, 0, 3);
  at::Tensor want = v.clone();
  for (int64_t p : {1, 2}) want.select(1, p).select(1, 0).zero_();
  EXPECT_TRUE(zeroed.equal(want));
  i.operation = Intervention::Operation::kScale;
  i.value = 2;
  i.where = {{"batch", {1}}};
  EXPECT_TRUE(apply_intervention(i, v, axes, 0, 3).select(0, 1).equal(v.select(0, 1) * 2));
  EXPECT_TRUE(apply_intervention(i, v, axes, 0, 3).select(0, 0).equal(v.select(0, 0)));
  // A run that began at position 5: absolute position 6 is its second.
  i.where = {{"pos", {6}}};
  at::Tensor late = apply_intervention(i, v, axes, 5, 8);
  EXPECT_TRUE(late.select(1, 1).equal(v.select(1, 1) * 2));
  EXPECT_TRUE(late.select(1, 0).equal(v.select(1, 0)));
  i.where = {{"pos", {2}}};
  EXPECT_TRUE(apply_intervention(i, v, axes, 5, 8).equal(v));
  // The component along a direction is gone.
  i.operation = Intervention::Operation::kProjectOut;
  i.where.clear();
  i.tensor = at::tensor({1.0, 1.0}, at::kDouble);
  EXPECT_LT((apply_intervention(i, v, axes, 0, 3) * i.tensor).sum(-1).abs().max().item<double>(), 1e-12);
  // A source of the point's own shape is read at the same places.
  i.operation = Intervention::Operation::kSet;
  i.tensor = v * 10;
  i.where = {{"head", {1}}};
  at::Tensor set = apply_intervention(i, v, axes, 0, 3);
  EXPECT_TRUE(set.select(2, 1).equal(v.select(2, 1) * 10));
  EXPECT_TRUE(set.select(2, 0).equal(v.select(2, 0)));
}

TEST(Interventions, MistakesAreNamed) {
  at::Tensor v = at::zeros({1, 3, 2, 2});
  std::vector<std::string> axes{"batch", "pos", "head", "d_v"};
  Intervention i;
  i.hook = "blocks.0.attn.hook_z";
  auto text = [&] {
    try {
      apply_intervention(i, v, axes, 0, 3);
    } catch (const Error& e) {
      return e.status().text();
    }
    return std::string("no error");
  };
  i.where = {{"layer", {0}}};
  EXPECT_NE(text().find("layer"), std::string::npos);
  i.where = {{"head", {2}}};
  EXPECT_NE(text().find("head"), std::string::npos);
  i.where.clear();
  i.tensor = at::zeros({7});
  EXPECT_NE(text().find("[7]"), std::string::npos);
  auto parse = [](const char* json) {
    return parse_interventions(parse_json(json, "i.json").value(), "i.json", [](const auto&, const auto&, const auto&) { return at::zeros({1}); });
  };
  EXPECT_EQ(parse(R"([{"hook": "h", "operation": "add", "source": {"value": 2}}])").at(0).value, 2);
  for (const char* bad : {"{}", "[1]", R"([{"hook": "h"}])", R"([{"hook": "h", "operation": "eat", "source": {"zero": true}}])",
                          R"([{"hook": "h", "operation": "set"}])", R"([{"hook": "h", "operation": "set", "source": {"zero": true}, "colour": 1}])",
                          R"([{"hook": "h", "operation": "project_out", "source": {"value": 1}}])", R"([{"hook": "h", "operation": "set", "source": {"file": "x"}}])",
                          R"([{"hook": "h", "operation": "set", "where": {"pos": ["a"]}, "source": {"zero": true}}])"})
    EXPECT_THROW(parse(bad), Error) << bad;
}

}  // namespace
}  // namespace microtome
