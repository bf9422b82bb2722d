// Inspector: the selected run, head, token and hook point, against the store's and the model's numbers.
#include <QApplication>
#include <QClipboard>
#include <QLineEdit>
#include <QPlainTextEdit>
#include <QPushButton>
#include <QScrollBar>
#include <QSignalSpy>
#include <QToolButton>
#include <cmath>

#include "app/desktop/panels/inspector/head_numbers.h"
#include "app/desktop/panels/inspector/sections.h"
#include "app/desktop/theme/theme.h"
#include "tests/desktop/app/panel_runs.h"

namespace microtome::desktop {
namespace {

TensorMap grid() {
  TensorMap map;
  map.name = "scores";
  map.axis_labels["pos"] = {"the", " cat", " sat"};
  map.arrays = {{"score", {"layer", "head"}, {2, 3}, std::vector<double>{0, 1, 2, 3, 4, 5}, "nats", "what it is"},
                {"by_prompt",
                 {"layer", "prompt", "head"},
                 {2, 2, 3},
                 std::vector<float>{0, 0, 0, 0, 0, 0, 1, 2, 3, 5, NAN, 7},
                 "",
                 ""},
                {"by_pos",
                 {"head", "pos", "layer"},
                 {3, 3, 2},
                 std::vector<double>{0, 1, 0, -9, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
                 "",
                 ""},
                {"picture", {"layer", "head", "q_pos", "k_pos"}, {2, 3, 2, 2}, std::vector<float>(24, 1.0f), "", ""},
                {"ids", {"layer", "head"}, {2, 3}, std::vector<int64_t>{1, 2, 3, 4, 5, 6}, "", ""},
                {"short", {"layer", "head"}, {2, 3}, std::vector<double>{1}, "", ""},
                {"huge", {"layer", "head"}, {int64_t{1} << 40, int64_t{1} << 40}, std::vector<double>{1}, "", ""},
                {"unknown", {"layer", "head"}, {2, 3}, std::vector<double>(6, NAN), "", ""}};
  return map;
}

TEST(HeadNumbers, AreFoundByAxesAndColumns) {
  AnalysisResult result;
  result.artifacts.push_back(grid());
  Table table;
  table.columns = {{"layer", "", ""}, {"head", "", ""}, {"entropy", "nats", "of the row"}, {"kind", "", ""}, {"score", "", ""}};
  table.rows = {{int64_t{1}, int64_t{0}, 1.5, std::string("softmax"), 99.0},
                {int64_t{1}, int64_t{1}, 2.5, std::string("softmax"), 99.0},
                {int64_t{1}}};
  result.artifacts.push_back(table);
  const auto n = headNumbers(result, 1, 0);
  const auto find = [&](const char* name) {
    for (const HeadNumber& x : n)
      if (x.name == QLatin1String(name)) return &x;
    return static_cast<const HeadNumber*>(nullptr);
  };
  ASSERT_TRUE(find("score"));
  EXPECT_EQ(find("score")->value, 3.0) << "the array, not the table's column of that name";
  EXPECT_EQ(find("score")->unit.toStdString(), "nats");
  ASSERT_TRUE(find("by prompt"));
  EXPECT_EQ(find("by prompt")->value, 3.0) << "mean of 1 and 5";
  EXPECT_TRUE(find("by prompt")->where.contains(QStringLiteral("2 prompts")));
  ASSERT_TRUE(find("by pos"));
  EXPECT_EQ(find("by pos")->value, -9.0);
  EXPECT_TRUE(find("by pos")->where.contains(QStringLiteral("cat")));
  ASSERT_TRUE(find("entropy"));
  EXPECT_EQ(find("entropy")->value, 1.5);
  EXPECT_EQ(find("ids")->value, 4.0);
  for (const char* not_one : {"picture", "short", "huge", "unknown", "kind", "layer"}) EXPECT_FALSE(find(not_one)) << not_one;
  // The missing prompt is left out of a mean, not counted as 0.
  for (const HeadNumber& x : headNumbers(result, 1, 1)) {
    if (x.name == QLatin1String("by prompt")) {
      EXPECT_EQ(x.value, 2.0);
    }
  }
  EXPECT_TRUE(headNumbers(result, 2, 0).empty());
  EXPECT_TRUE(headNumbers(result, -1, -1).empty());
}

class InspectorPanelTest : public PanelRunsTest {
 protected:
  void open(const QSize& size = QSize(264, 620)) {
    panel_.reset(makePanel("inspector", size));
    ASSERT_TRUE(panel_);
    QTest::qWait(50);
  }
  void TearDown() override {
    panel_.reset();
    PanelRunsTest::TearDown();
  }
  Section* section(const char* name) { return panel_->findChild<Section*>(QStringLiteral("section_") + QLatin1String(name)); }
  static QString value(const FactGrid* grid, const QString& name) {
    for (const FactRow& r : grid->rows())
      if (r.name == name) return r.value;
    return {};
  }
  void refreshed() { QTest::qWait(60); }
  std::unique_ptr<Panel> panel_;
};

TEST_F(InspectorPanelTest, NothingSelected) {
  open();
  EXPECT_FALSE(section("run")->isVisible());
  picture(panel_.get(), QStringLiteral("inspector_empty"));
  // An index that no model has selects nothing.
  session_->selection().setHead(3, 1);
  session_->selection().setPosition(4);
  refreshed();
  EXPECT_FALSE(section("head")->isVisible());
  EXPECT_FALSE(section("position")->isVisible());
}

TEST_F(InspectorPanelTest, ARunWithItsNotes) {
  openTwins(4);
  const qint64 a = runAnalysis("head_probes", {{"n", "12"}, {"batch", "2"}}), b = runAnalysis("attention", {}, 1);
  session_->setViewNote(a, QStringLiteral("scores"), QStringLiteral("head 2.0 stands out"));
  ASSERT_TRUE(settle());
  open();
  session_->selection().setRun(a);
  Section* run = section("run");
  ASSERT_TRUE(waitUntil([&] { return !value(run->facts(), QStringLiteral("Device")).isEmpty(); }, 10000));
  EXPECT_EQ(run->headline().toStdString(), "1 · " + session_->findRun(a)->title);
  EXPECT_EQ(textOf(run, "definition").toStdString().substr(0, 20),
            session_->findAnalysis(QStringLiteral("head_probes"))->info.definition.substr(0, 20));
  EXPECT_EQ(value(run->facts(), QStringLiteral("n")).toStdString(), "12");
  EXPECT_EQ(value(run->facts(), QStringLiteral("Model")).toStdString(), "zoo-llama");
  EXPECT_EQ(value(run->facts(), QStringLiteral("Device")).toStdString(), "cpu");
  EXPECT_EQ(value(run->facts(), QStringLiteral("Key")).toStdString(), session_->findRun(a)->key_hash.substr(0, 12));
  EXPECT_TRUE(value(run->facts(), QStringLiteral("Versions")).contains(QStringLiteral("libtorch")));
  auto* command = run->findChild<QPlainTextEdit*>(QStringLiteral("command"));
  EXPECT_EQ(command->toPlainText().toStdString(), session_->findRun(a)->command);
  QTest::mouseClick(run->findChild<QToolButton*>(QStringLiteral("copy")), Qt::LeftButton);
  EXPECT_EQ(QApplication::clipboard()->text(), command->toPlainText());
  panel_->clearBar();
  panel_->resize(264, 900);
  QTest::qWait(100);
  picture(panel_.get(), QStringLiteral("inspector_run"));

  // A picture's note is edited in place.
  auto* viewNote = run->findChild<QLineEdit*>(QStringLiteral("note_scores"));
  ASSERT_TRUE(viewNote);
  EXPECT_EQ(viewNote->text().toStdString(), "head 2.0 stands out");
  QTest::keyClicks(viewNote, QStringLiteral("!"));
  viewNote->end(false);
  QTest::keyClick(viewNote, Qt::Key_Return);
  ASSERT_TRUE(settle());
  EXPECT_TRUE(session_->viewNote(a, QStringLiteral("scores")).contains(QLatin1Char('!')));

  // The run's own by Ctrl+Enter; Esc takes back; choosing another run keeps what was typed.
  auto* note = run->findChild<QPlainTextEdit*>(QStringLiteral("note"));
  QTest::keyClicks(note, QStringLiteral("three induction heads"));
  QTest::keyClick(note, Qt::Key_Return, Qt::ControlModifier);
  ASSERT_TRUE(settle());
  EXPECT_EQ(session_->findRun(a)->note, "three induction heads");
  EXPECT_EQ(session_->store()->find_run(std::to_string(a)).value().note, "three induction heads");
  QTest::keyClicks(note, QStringLiteral(" or four"));
  QTest::keyClick(note, Qt::Key_Escape);
  EXPECT_EQ(note->toPlainText().toStdString(), "three induction heads");
  note->moveCursor(QTextCursor::End);
  QTest::keyClicks(note, QStringLiteral("?"));
  session_->selection().setRun(b);
  refreshed();
  EXPECT_EQ(session_->findRun(a)->note, "three induction heads?");
  EXPECT_TRUE(note->toPlainText().isEmpty()) << "the other run's note";
  EXPECT_EQ(session_->findRun(b)->note, "");
  session_->undoStack().undo();
  EXPECT_EQ(session_->findRun(a)->note, "three induction heads");
  session_->deleteRun(b);
  refreshed();
  EXPECT_FALSE(run->isVisible());
}

TEST_F(InspectorPanelTest, AHeadWithWhatRunsSayOfIt) {
  openTwins(4);
  const qint64 a = runAnalysis("head_probes", {{"n", "12"}, {"batch", "2"}}), b = runAnalysis("attention"),
               c = runAnalysis("head_probes", {{"n", "12"}, {"batch", "2"}}, 1);
  open(QSize(264, 900));
  session_->selection().setHead(2, 1);
  Section* head = section("head");
  auto* numbers = head->findChild<FactGrid*>(QStringLiteral("numbers"));
  const auto has = [&](qint64 run) {
    for (const FactRow& r : numbers->rows())
      if (r.link == QString::number(run)) return true;
    return false;
  };
  ASSERT_TRUE(waitUntil([&] { return has(a) && has(b); }, 20000));
  EXPECT_FALSE(has(c)) << "another model's run";
  EXPECT_EQ(head->headline().toStdString(), "Layer 2, head 1 of zoo-llama");
  const app::LayerFacts& facts = session_->model(0)->facts().layers[2];
  EXPECT_EQ(value(head->facts(), QStringLiteral("Heads")), QString::number(facts.heads));
  EXPECT_EQ(value(head->facts(), QStringLiteral("d_k")), QString::number(facts.d_k));
  // A number as the store has it.
  const AnalysisResult stored = session_->store()->result(a).value();
  const auto expected = headNumbers(stored, 2, 1);
  ASSERT_FALSE(expected.empty());
  EXPECT_TRUE(value(numbers, expected.front().name).startsWith(numberText(expected.front().value))) << expected.front().name.toStdString();
  QTest::qWait(100);
  picture(panel_.get(), QStringLiteral("inspector_head"));
  // The other model's head, with its own runs.
  session_->selection().setModel(1);
  ASSERT_TRUE(waitUntil([&] { return has(c); }, 10000));
  EXPECT_FALSE(has(a));
  EXPECT_EQ(head->headline().toStdString(), "Layer 2, head 1 of zoo-gated_deltanet");
  // A link opens its run.
  QSignalSpy wanted(session_.get(), &Session::panelWanted);
  refreshed();
  for (QPushButton* b2 : numbers->findChildren<QPushButton*>())
    if (b2->isVisible()) {
      QTest::mouseClick(b2, Qt::LeftButton);
      break;
    }
  EXPECT_EQ(session_->selection().run(), c);
  ASSERT_EQ(wanted.size(), 1);
  // A whole layer has no head's numbers.
  session_->selection().setHead(1, -1);
  refreshed();
  EXPECT_TRUE(numbers->rows().empty());
  EXPECT_TRUE(head->headline().startsWith(QStringLiteral("Layer 1 of")));
}

TEST_F(InspectorPanelTest, ATokenAndAHookPoint) {
  openTwins(4);
  open();
  session_->selection().setPosition(3, 1);
  refreshed();
  const PromptPair* pair = session_->currentPair(0);
  ASSERT_TRUE(pair);
  Section* position = section("position");
  ASSERT_TRUE(position->isVisible());
  EXPECT_TRUE(value(position->facts(), QStringLiteral("Token")).contains(QString::number(pair->clean_ids[3])));
  EXPECT_TRUE(
      value(position->facts(), QStringLiteral("Token"))
          .startsWith(visibleToken(QString::fromStdString(session_->model(0)->tokenizer()->display(pair->clean_ids[3])))));
  EXPECT_TRUE(value(position->facts(), QStringLiteral("Looks at")).startsWith(QStringLiteral("1: ")));
  const app::HookFacts& hook = session_->model(0)->facts().hooks.at(4);
  session_->selection().setHookPoint(QString::fromStdString(hook.name));
  session_->selection().setNode(QStringLiteral("a3.h1"));
  refreshed();
  Section* shown = section("hook");
  ASSERT_TRUE(shown->isVisible());
  EXPECT_EQ(shown->headline().toStdString(), hook.name);
  EXPECT_EQ(value(shown->facts(), QStringLiteral("Axes")).count(QChar(0x00d7)), static_cast<int>(hook.axes.size()) - 1);
  EXPECT_EQ(value(section("graph")->facts(), QStringLiteral("Node")).toStdString(), "a3.h1");
  picture(panel_.get(), QStringLiteral("inspector_token"));
  session_->selection().setHookPoint(QStringLiteral("no.such.point"));
  session_->selection().setPosition(-1);
  refreshed();
  EXPECT_FALSE(shown->isVisible());
  EXPECT_FALSE(position->isVisible());
  // Folded sections stay so.
  QTest::mouseClick(section("graph")->findChild<QToolButton*>(QStringLiteral("fold")), Qt::LeftButton);
  EXPECT_TRUE(section("graph")->folded());
  const QByteArray state = panel_->saveState();
  open();
  panel_->restoreState(state);
  EXPECT_TRUE(section("graph")->folded());
}

TEST_F(InspectorPanelTest, NeverWiderThanItsPlace) {
  openTwins(4);
  const qint64 a = runAnalysis("attention");
  session_->setNote(a, QString(3000, QLatin1Char('x')));
  open(QSize(216, 600));
  session_->selection().setRun(a);
  session_->selection().setHead(0, 0);
  session_->selection().setPosition(2);
  session_->selection().setNode(QString(400, QLatin1Char('n')));
  ASSERT_TRUE(settle());
  EXPECT_LE(panel_->width(), 216);
  for (Section* s : panel_->findChildren<Section*>()) {
    if (s->isVisible()) {
      EXPECT_LE(s->minimumSizeHint().width(), 216) << s->objectName().toStdString();
    }
  }
}

}  // namespace
}  // namespace microtome::desktop
