// The form of an analysis: every schema that ships, what it gives back, what it does with values that can't be.
#include <QAbstractButton>
#include <QApplication>
#include <QCheckBox>
#include <QComboBox>
#include <QDoubleSpinBox>
#include <QLabel>
#include <QLineEdit>
#include <QSignalSpy>
#include <QSpinBox>
#include <QToolButton>
#include <QWheelEvent>
#include <QtTest/QTest>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "app/desktop/views/param_form.h"

namespace microtome::desktop {
namespace {

using Given = std::map<std::string, std::string>;

ParamSchema parsed(const char* json) { return parse_param_schema(json, "test"); }

ParamSchema everyKind() {
  return parsed(R"({"params": [
    {"name": "by_position", "type": "bool", "default": false, "help": "h", "affects": "answer"},
    {"name": "n", "type": "int", "default": 50, "range": [2, 4096], "help": "h", "affects": "answer"},
    {"name": "epsilon", "type": "float", "default": 0.3, "range": [0, 1], "help": "h", "affects": "answer"},
    {"name": "rate", "type": "float", "default": 0.001, "range": [1e-9, 10], "help": "h", "affects": "answer"},
    {"name": "limit", "type": "int", "default": 0, "range": [0, null], "help": "h", "affects": "answer"},
    {"name": "site", "type": "choice", "default": "z", "choices": ["z", "q", "k"], "help": "h", "affects": "answer"},
    {"name": "heads", "type": "string", "default": "all", "help": "h", "affects": "answer"},
    {"name": "batch_size", "type": "int", "default": 0, "range": [0, 65536], "help": "h", "affects": "cost"}]})");
}

// The folder of the program's analyses, from where this file lies.
std::filesystem::path analysisFolder() {
  return std::filesystem::path(__FILE__).parent_path().parent_path().parent_path().parent_path() / "analysis";
}

// Another value than the default, as text; empty: the schema allows none.
std::string otherValue(const ParamSpec& spec) {
  switch (spec.type) {
    case ParamSpec::Type::kBool: return std::get<bool>(spec.fallback) ? "false" : "true";
    case ParamSpec::Type::kInt: {
      const int64_t v = std::get<int64_t>(spec.fallback);
      return std::to_string(spec.max && static_cast<double>(v) >= *spec.max ? v - 1 : v + 1);
    }
    case ParamSpec::Type::kFloat: {
      const double v = std::get<double>(spec.fallback);
      return param_text(spec.max && v >= *spec.max ? v / 3 : spec.max ? v + (*spec.max - v) / 3 : v + 1.0 / 3);
    }
    case ParamSpec::Type::kChoice:
      for (const auto& c : spec.choices)
        if (c != std::get<std::string>(spec.fallback)) return c;
      return "";
    case ParamSpec::Type::kString: return "0, 3 \"x\"";
  }
  return "";
}

TEST(ParamForm, EveryShippedSchemaRoundTrips) {
  int seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator(analysisFolder())) {
    const auto file = entry.path() / "params.json";
    if (!std::filesystem::exists(file)) continue;
    ++seen;
    SCOPED_TRACE(file.string());
    std::stringstream text;
    text << std::ifstream(file).rdbuf();
    const ParamSchema schema = parse_param_schema(text.str(), file.string());
    ParamForm form;
    form.setSchema(schema);
    QString why;
    EXPECT_TRUE(form.isValid(&why)) << why.toStdString();
    EXPECT_TRUE(form.values().empty());
    Given given;
    for (const ParamSpec& spec : schema.specs) {
      EXPECT_NE(form.findChild<QWidget*>(QString::fromStdString(spec.name)), nullptr);
      if (const std::string other = otherValue(spec); !other.empty()) given[spec.name] = other;
    }
    form.setValues(given);
    EXPECT_EQ(form.values(), given);
    EXPECT_TRUE(form.isValid(&why)) << why.toStdString();
    form.reset();
    EXPECT_TRUE(form.values().empty());
  }
  EXPECT_GE(seen, 8);
}

TEST(ParamForm, EachTypeHasItsControl) {
  ParamForm form;
  form.setSchema(everyKind());
  EXPECT_NE(form.findChild<QCheckBox*>("by_position"), nullptr);
  auto* n = form.findChild<QSpinBox*>("n");
  ASSERT_NE(n, nullptr);
  EXPECT_EQ(n->minimum(), 2);
  EXPECT_EQ(n->maximum(), 4096);
  EXPECT_NE(form.findChild<QDoubleSpinBox*>("epsilon"), nullptr);
  EXPECT_NE(form.findChild<QLineEdit*>("rate"), nullptr);    // over ten powers of ten
  EXPECT_NE(form.findChild<QLineEdit*>("limit"), nullptr);   // open above
  EXPECT_NE(form.findChild<QComboBox*>("site"), nullptr);
  EXPECT_NE(form.findChild<QLineEdit*>("heads"), nullptr);
}

TEST(ParamForm, EditsByHandComeBackAndCanBeTakenBack) {
  ParamForm form;
  form.setSchema(everyKind());
  form.show();
  QSignalSpy spy(&form, &ParamForm::changed);
  auto* epsilon = form.findChild<QDoubleSpinBox*>("epsilon");
  auto* back = form.findChild<QAbstractButton*>("back_epsilon");
  ASSERT_TRUE(epsilon && back);
  EXPECT_FALSE(back->isVisibleTo(&form));
  epsilon->setFocus();
  epsilon->selectAll();
  QTest::keyClicks(epsilon, "0.123456789");
  EXPECT_EQ(form.values(), (Given{{"epsilon", "0.123456789"}}));
  EXPECT_GT(spy.count(), 0);
  EXPECT_TRUE(back->isVisibleTo(&form));
  QTest::mouseClick(back, Qt::LeftButton);
  EXPECT_TRUE(form.values().empty());
  EXPECT_FALSE(back->isVisibleTo(&form));
  // A step is what it says, not a sum of rounding errors.
  for (int i = 0; i < 6; ++i) QTest::keyClick(epsilon, Qt::Key_Up);
  EXPECT_EQ(form.values(), (Given{{"epsilon", "0.6"}}));
}

TEST(ParamForm, ValuesThatCannotBeAreSaidNotReplaced) {
  ParamForm form;
  form.setSchema(everyKind());
  form.show();
  auto* problem = form.findChild<QLabel*>("problem");
  ASSERT_NE(problem, nullptr);
  EXPECT_FALSE(problem->isVisibleTo(&form));
  const Given wrong[] = {{{"n", "1"}}, {{"n", "many"}}, {{"epsilon", "7"}}, {{"epsilon", "nan"}}, {{"site", "zz"}},
                         {{"by_position", "maybe"}}, {{"rate", "0"}}, {{"rate", "1e999"}}, {{"limit", "-1"}},
                         {{"limit", "99999999999999999999"}}, {{"limit", ""}}};
  for (const Given& given : wrong) {
    SCOPED_TRACE(given.begin()->first + "=" + given.begin()->second);
    form.setValues(given);
    QString why;
    EXPECT_FALSE(form.isValid(&why));
    EXPECT_TRUE(why.contains(QString::fromStdString(given.begin()->first))) << why.toStdString();
    EXPECT_EQ(form.values(), given);
    EXPECT_TRUE(problem->isVisibleTo(&form));
    EXPECT_FALSE(form.isValid(nullptr));
  }
  form.setValues({{"n", "1"}});
  form.findChild<QSpinBox*>("n")->setValue(7);               // an edit replaces the refused value
  EXPECT_TRUE(form.isValid(nullptr));
  EXPECT_EQ(form.values(), (Given{{"n", "7"}}));
  form.setValues({{"no_such_parameter", "1"}});
  EXPECT_TRUE(form.isValid(nullptr));
  EXPECT_TRUE(form.values().empty());
}

TEST(ParamForm, SpellingsOfTheDefaultAreTheDefault) {
  ParamForm form;
  form.setSchema(everyKind());
  form.setValues({{"by_position", "no"}, {"epsilon", "0.30"}, {"rate", "1e-3"}, {"n", "+50"}});
  EXPECT_TRUE(form.values().empty());
  auto* rate = form.findChild<QLineEdit*>("rate");
  rate->setText("0.0010");
  EXPECT_TRUE(form.values().empty());
  rate->setText("2e-5");
  EXPECT_EQ(form.values(), (Given{{"rate", "2e-05"}}));
}

TEST(ParamForm, ChangedOnceForAProgramsChange) {
  ParamForm form;
  form.setSchema(everyKind());
  QSignalSpy spy(&form, &ParamForm::changed);
  form.setValues({{"n", "9"}, {"site", "q"}, {"heads", "0"}});
  EXPECT_EQ(spy.count(), 1);
  form.setValues({{"n", "9"}, {"site", "q"}, {"heads", "0"}});
  EXPECT_EQ(spy.count(), 1);
  form.reset();
  EXPECT_EQ(spy.count(), 2);
  form.setSchema(everyKind());
  EXPECT_EQ(spy.count(), 2);
}

TEST(ParamForm, CostsAreFoldedAwayButCounted) {
  ParamForm form;
  form.setSchema(everyKind());
  form.show();
  auto* speed = form.findChild<QToolButton*>("speed");
  auto* batch = form.findChild<QSpinBox*>("batch_size");
  ASSERT_TRUE(speed && batch);
  EXPECT_FALSE(batch->isVisibleTo(&form));
  QTest::mouseClick(speed, Qt::LeftButton);
  EXPECT_TRUE(batch->isVisibleTo(&form));
  const QString plain = speed->text();
  batch->setValue(8);
  EXPECT_NE(speed->text(), plain);
  EXPECT_EQ(form.values(), (Given{{"batch_size", "8"}}));
}

// Whether the control took it; what is left goes on to the page (Qt passes on only events of a real mouse).
bool wheel(QWidget* over) {
  const QPointF at = over->rect().center();
  QWheelEvent event(at, over->mapToGlobal(at), QPoint(), QPoint(0, -120), Qt::NoButton, Qt::NoModifier, Qt::NoScrollPhase, false);
  event.accept();
  QApplication::sendEvent(over, &event);
  return event.isAccepted();
}

TEST(ParamForm, WheelWithoutFocusIsLeftToThePage) {
  ParamForm page;
  ParamForm* form = &page;
  form->setSchema(everyKind());
  page.show();
  ASSERT_TRUE(QTest::qWaitForWindowExposed(&page));
  auto* n = form->findChild<QSpinBox*>("n");
  auto* site = form->findChild<QComboBox*>("site");
  form->findChild<QLineEdit*>("heads")->setFocus();
  EXPECT_FALSE(wheel(n));
  EXPECT_FALSE(wheel(site));
  EXPECT_TRUE(form->values().empty());
  page.activateWindow();
  if (!QTest::qWaitForWindowActive(&page, 1000)) GTEST_SKIP() << "no window gets the focus here";
  n->setFocus();
  ASSERT_TRUE(n->hasFocus());
  EXPECT_TRUE(wheel(n));
  EXPECT_EQ(form->values(), (Given{{"n", "49"}}));
}

TEST(ParamForm, HelpFollowsTheFocus) {
  ParamForm form;
  form.setSchema(parsed(R"({"params": [
    {"name": "first", "type": "int", "default": 1, "range": [0, 9], "help": "About <one>.", "affects": "answer"},
    {"name": "second", "type": "bool", "default": true, "help": "About two.", "affects": "answer"}]})"));
  form.show();
  auto* help = form.findChild<QLabel*>("help");
  ASSERT_NE(help, nullptr);
  EXPECT_TRUE(help->text().contains("About &lt;one&gt;."));   // shown as it is, never as markup
  QEvent enter(QEvent::Enter);
  QApplication::sendEvent(form.findChild<QWidget*>("second"), &enter);
  EXPECT_TRUE(help->text().contains("About two."));
  EXPECT_TRUE(form.findChild<QWidget*>("first")->toolTip().contains("0 to 9, default 1"));
}

TEST(ParamForm, NoParametersAndHostileOnes) {
  ParamForm form;
  form.setSchema({});
  EXPECT_TRUE(form.isValid(nullptr));
  EXPECT_FALSE(form.findChild<QLabel*>("help")->text().isEmpty());
  ParamSchema hostile;
  ParamSpec spec;
  spec.name.assign(5000, 'x');
  spec.name.append("\n\xe2\x80\xae\xff");
  spec.help.assign(1 << 20, 'h');
  spec.type = ParamSpec::Type::kChoice;
  spec.choices.resize(2, std::string(9000, 'a'));
  spec.choices[1].push_back('b');
  spec.fallback = spec.choices[0];
  hostile.specs.push_back(spec);
  form.setSchema(hostile);
  form.resize(320, 200);
  form.show();
  EXPECT_LT(form.sizeHint().width(), 900);
  form.setValues({{spec.name, spec.choices[1]}});            // alike when cut, told apart all the same
  EXPECT_EQ(form.values().at(spec.name), spec.choices[1]);
  form.grab();
}

}  // namespace
}  // namespace microtome::desktop
