#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>

#include "core/base/params.h"

namespace microtome {
namespace {

constexpr char kSchema[] = R"({"params": [
  {"name": "steps", "type": "int", "default": 8, "range": [1, 64], "help": "steps of the path", "affects": "answer"},
  {"name": "rate", "type": "float", "default": 1, "range": [0, null], "help": "rate", "affects": "answer"},
  {"name": "batch", "type": "int", "default": 0, "help": "batch size", "affects": "cost"},
  {"name": "abs", "type": "bool", "default": false, "help": "absolute values", "affects": "answer"},
  {"name": "hook", "type": "string", "default": "", "help": "pattern", "affects": "answer"},
  {"name": "mode", "type": "choice", "default": "zero", "choices": ["zero", "mean"], "help": "m",
   "affects": "answer"}]})";

Params resolved(const std::map<std::string, std::string>& given) {
  return resolve_params(parse_param_schema(kSchema, "params.json"), given).value();
}
std::string refusal(const std::map<std::string, std::string>& given) {
  const Result<Params> r = resolve_params(parse_param_schema(kSchema, "params.json"), given);
  return r ? "" : r.status().text();
}

TEST(Params, DefaultsAreFilledIn) {
  const Params p = resolved({});
  EXPECT_EQ(p.get_int("steps"), 8);
  EXPECT_EQ(p.get_float("rate"), 1.0);
  EXPECT_EQ(p.get_float("steps"), 8.0);       // an int serves as a float
  EXPECT_FALSE(p.get_bool("abs"));
  EXPECT_EQ(p.get_string("mode"), "zero");
  EXPECT_EQ(p.get_int("absent", 5), 5);
  EXPECT_THROW(p.get_int("absent"), Error);
  EXPECT_THROW(p.get_int("rate"), Error);
  EXPECT_THROW(p.get_bool("steps"), Error);
  EXPECT_FALSE(parse_param_schema(kSchema, "").find("batch")->affects_answer);
}

TEST(Params, TextsBecomeTyped) {
  const Params p = resolved({{"steps", "64"}, {"rate", "2.5e-1"}, {"abs", "on"}, {"hook", "a b"}, {"mode", "mean"}});
  EXPECT_EQ(p.get_int("steps"), 64);
  EXPECT_EQ(p.get_float("rate"), 0.25);
  EXPECT_TRUE(p.get_bool("abs"));
  EXPECT_EQ(p.get_string("hook"), "a b");
  EXPECT_EQ(p.get_string("mode"), "mean");
}

TEST(Params, RefusalsNameTheRemedy) {
  EXPECT_NE(refusal({{"step", "3"}}).find("steps, rate, batch, abs, hook, mode"), std::string::npos);
  EXPECT_NE(refusal({{"steps", "65"}}).find("1 to 64"), std::string::npos);
  EXPECT_NE(refusal({{"rate", "-1"}}).find("at least 0"), std::string::npos);
  EXPECT_NE(refusal({{"mode", "median"}}).find("zero, mean"), std::string::npos);
  for (const char* text : {"", "x", "1.5", "1 ", " 1", "0x1", "1e3", "99999999999999999999", "++1", "+-1"})
    EXPECT_NE(refusal({{"steps", text}}).find("expected an integer"), std::string::npos) << text;
  for (const char* text : {"", "x", "1,5", "nan", "inf", "-inf", "1e999"})
    EXPECT_NE(refusal({{"rate", text}}), "") << text;
  EXPECT_NE(refusal({{"abs", "maybe"}}).find("true or false"), std::string::npos);
}

TEST(Params, TextRoundTrips) {
  EXPECT_EQ(param_text(true), "true");
  EXPECT_EQ(param_text(int64_t{-3}), "-3");
  EXPECT_EQ(param_text(0.25), "0.25");
  EXPECT_EQ(param_text(0.1), "0.1");
  EXPECT_EQ(param_text(std::string("s")), "s");
  for (double d : {1.0 / 3, 1e-300, 6.02214076e23, std::numeric_limits<double>::denorm_min()})
    EXPECT_EQ(std::strtod(param_text(d).c_str(), nullptr), d);
}

TEST(Params, AMalformedSchemaIsADefectOfOurs) {
  auto entry = [](const std::string& body) { return R"({"params":[{"name":"a","help":"h",)" + body + "}]}"; };
  for (const std::string& text :
       {std::string("["), std::string("[]"), std::string("{}"), entry(R"("type":"int","affects":"answer")"),
        entry(R"("type":"int","default":1.5,"affects":"answer")"), entry(R"("type":"int","default":1)"),
        entry(R"("type":"real","default":1,"affects":"answer")"), entry(R"("type":"int","default":1,"affects":"both")"),
        entry(R"("type":"int","default":5,"range":[0,4],"affects":"cost")"),
        entry(R"("type":"int","default":5,"range":[9,4],"affects":"cost")"),
        entry(R"("type":"string","default":"","range":[0,4],"affects":"cost")"),
        entry(R"("type":"choice","default":"x","choices":["y"],"affects":"cost")"),
        entry(R"("type":"choice","default":"x","affects":"cost")"),
        std::string(R"({"params":[{"name":"a","type":"int","default":1,"help":"","affects":"cost"},
                                  {"name":"a","type":"int","default":1,"help":"","affects":"cost"}]})")}) {
    try {
      parse_param_schema(text, "params.json");
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_EQ(e.status().code(), StatusCode::kInternal) << text;
      EXPECT_EQ(e.status().where(), "params.json") << text;
    }
  }
}

}  // namespace
}  // namespace microtome
