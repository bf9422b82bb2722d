// The prompts panel as a person uses it: typing with tokens that follow, what is wrong said in its place, tasks and files, the
// next-token table against the engine's numbers.
#include <QComboBox>
#include <QFileDialog>
#include <QLabel>
#include <QLineEdit>
#include <QMenu>
#include <QPushButton>
#include <QSpinBox>
#include <QToolButton>
#include <cmath>

#include "app/desktop/panels/panel.h"
#include "app/desktop/panels/prompts/answer_edit.h"
#include "app/desktop/panels/prompts/load_row.h"
#include "app/desktop/panels/prompts/next_token_view.h"
#include "app/desktop/panels/prompts/prompt_check.h"
#include "app/desktop/panels/prompts/prompt_editor.h"
#include "app/desktop/panels/prompts/token_rows.h"
#include "tests/desktop/app/app_fixture.h"

namespace microtome::desktop {
namespace {

struct PromptsPanelTest : AppTest {
  void TearDown() override {
    panel_.reset();
    AppTest::TearDown();
  }
  void open(const QSize& size = QSize(760, 180)) {
    panel_.reset(makePanel("prompts", size));
    ASSERT_TRUE(panel_);
    ASSERT_TRUE(QTest::qWaitForWindowExposed(panel_.get()));
    settle();
    editor_ = panel_->findChild<PromptEditor*>();
    rows_ = panel_->findChild<TokenRows*>();
    next_ = panel_->findChild<NextTokenView*>();
    const auto edits = panel_->findChildren<AnswerEdit*>();
    ASSERT_TRUE(editor_ && rows_ && next_ && edits.size() == 2);
    answer_ = edits[0];
    wrong_ = edits[1];
    clean_ = editor_->cleanField();
    for (QLineEdit* e : panel_->findChildren<QLineEdit*>())
      if (e->accessibleName() == QStringLiteral("corrupted")) corrupted_ = e;
    ASSERT_TRUE(corrupted_);
  }
  QToolButton* button(const char* id) const { return panel_->findChild<QToolButton*>(QString::fromLatin1(id)); }
  QString problem() const {
    auto* label = panel_->findChild<QLabel*>(QStringLiteral("promptProblem"));
    return label->isVisible() ? label->text() : QString();
  }
  void type(QLineEdit* field, const QString& text) {
    field->setFocus();
    field->selectAll();
    QTest::keyClicks(field, text);
  }
  bool known(size_t columns = 1) {
    return waitUntil(
        [&] {
          if (next_->columns().size() != columns) return false;
          for (const NextTokenColumn& c : next_->columns())
            if (c.top.empty()) return false;
          return true;
        },
        20000);
  }

  std::unique_ptr<Panel> panel_;
  PromptEditor* editor_ = nullptr;
  TokenRows* rows_ = nullptr;
  NextTokenView* next_ = nullptr;
  AnswerEdit *answer_ = nullptr, *wrong_ = nullptr;
  QLineEdit *clean_ = nullptr, *corrupted_ = nullptr;
};

TEST_F(PromptsPanelTest, NoModelOffersTheDemo) {
  panel_.reset(makePanel("prompts", QSize(760, 170)));
  QTest::qWait(50);
  QPushButton* demo = nullptr;
  for (QPushButton* b : panel_->findChildren<QPushButton*>())
    if (b->isVisible()) demo = b;
  ASSERT_TRUE(demo);
  EXPECT_LE(demo->mapTo(panel_.get(), QPoint(0, demo->height())).y(), panel_->height());
  picture(panel_.get(), QStringLiteral("prompts_empty"));
}

TEST_F(PromptsPanelTest, TokensFollowTheTypingAndEnterUsesThem) {
  session_->openModel(models() + QStringLiteral("/zoo-llama"), 0);
  ASSERT_TRUE(waitUntil([&] { return session_->model(0) != nullptr; }));
  open();
  ASSERT_TRUE(clean_->isVisible()) << "without prompts one types";
  picture(panel_.get(), QStringLiteral("prompts_none"));
  const QString text = QStringLiteral("When Mary and John went to the store, John gave a book to");
  type(clean_, text);
  ASSERT_TRUE(waitUntil([&] { return !rows_->clean()->tokens().empty(); }, 2000));
  const auto ids = prompt_ids(session_->model(0)->tokenizer(), text.toStdString(), BosMode::kAuto).value();
  ASSERT_TRUE(waitUntil([&] { return rows_->clean()->tokens().size() == ids.size(); }, 2000));
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(rows_->clean()->tokens()[i].id, ids[i]);
  EXPECT_TRUE(rows_->clean()->tokens().front().special);
  EXPECT_EQ(session_->prompts().source.kind, PromptSource::Kind::kNone) << "typing alone commits nothing";
  type(corrupted_, QStringLiteral("When Mary and John went to the store, Mary gave a book to"));
  type(answer_, QStringLiteral(" Mary"));
  EXPECT_EQ(answer_->text(), QStringLiteral("·Mary")) << "the blank is seen";
  type(wrong_, QStringLiteral(" John"));
  ASSERT_TRUE(waitUntil(
      [&] { return wrong_->verdict() == AnswerEdit::Verdict::kGood && answer_->verdict() == AnswerEdit::Verdict::kGood; },
      2000));
  EXPECT_TRUE(panel_->findChild<QPushButton*>(QStringLiteral("promptUse"))->isVisible());
  picture(panel_.get(), QStringLiteral("prompts_typing"));
  QTest::keyClick(wrong_, Qt::Key_Return);
  ASSERT_TRUE(waitUntil([&] { return session_->currentPair(0) != nullptr; }));
  EXPECT_EQ(session_->prompts().source.kind, PromptSource::Kind::kTyped);
  EXPECT_EQ(session_->currentPair(0)->clean_ids, ids);
  EXPECT_EQ(session_->currentPair(0)->answers, std::vector<std::string>{" Mary"});
  // What differs is marked in both.
  int differing = 0;
  for (const TokenChip& c : rows_->corrupted()->tokens()) differing += c.differs;
  EXPECT_EQ(differing, 1);
  ASSERT_TRUE(known());
  picture(panel_.get(), QStringLiteral("prompts_typed"));
  session_->undoStack().undo();
  ASSERT_TRUE(waitUntil([&] { return clean_->text().isEmpty(); }, 2000));
}

TEST_F(PromptsPanelTest, UnequalLengthsAndLongAnswersAreSaidInPlace) {
  session_->openModel(models() + QStringLiteral("/zoo-llama"), 0);
  ASSERT_TRUE(waitUntil([&] { return session_->model(0) != nullptr; }));
  open();
  type(clean_, QStringLiteral("When Mary and John went"));
  type(corrupted_, QStringLiteral("When Mary and John"));
  ASSERT_TRUE(waitUntil([&] { return !problem().isEmpty(); }, 2000));
  EXPECT_EQ(problem(), QStringLiteral("clean has 6 tokens and corrupted 5: make both equally long"));
  picture(panel_.get(), QStringLiteral("prompts_unequal"));
  QTest::keyClick(corrupted_, Qt::Key_Return);
  EXPECT_EQ(session_->prompts().source.kind, PromptSource::Kind::kNone) << "not used while it can't be";
  type(corrupted_, QStringLiteral("When Mary and Mary went"));
  ASSERT_TRUE(waitUntil([&] { return problem().isEmpty(); }, 2000));
  type(answer_, QStringLiteral(" antidisestablishment"));
  ASSERT_TRUE(waitUntil([&] { return problem().contains(QStringLiteral("tokens")); }, 2000));
  EXPECT_EQ(answer_->verdict(), AnswerEdit::Verdict::kBad);
  // Escape brings back what is in use: nothing.
  QTest::keyClick(answer_, Qt::Key_Escape);
  EXPECT_TRUE(clean_->text().isEmpty());
  EXPECT_FALSE(panel_->findChild<QPushButton*>(QStringLiteral("promptUse"))->isVisible());
  EXPECT_TRUE(problem().isEmpty());
}

TEST_F(PromptsPanelTest, NextTokensAreTheEnginesAndRankTheAnswers) {
  openTwins(4);
  open();
  ASSERT_TRUE(known(2));
  for (int slot = 0; slot < 2; ++slot) {
    const PromptPair* pair = session_->currentPair(slot);
    std::vector<int64_t> asked = pair->answer_ids;
    asked.insert(asked.end(), pair->wrong_ids.begin(), pair->wrong_ids.end());
    const app::NextTokens truth = session_->engine()->next_tokens(*session_->model(slot), pair->clean_ids, 2048, asked);
    const NextTokenColumn& c = next_->columns()[static_cast<size_t>(slot)];
    EXPECT_EQ(c.model.toStdString(), session_->model(slot)->facts().name);
    for (size_t i = 0; i < 10; ++i) {
      EXPECT_EQ(c.top[i].id, truth.top[i].id);
      EXPECT_NEAR(c.top[i].probability, truth.top[i].probability, 1e-6);
    }
    ASSERT_EQ(c.asked.size(), 2u);
    for (size_t k = 0; k < 2; ++k) {
      int64_t rank = 1;
      for (const app::NextToken& t : truth.top) rank += t.logit > truth.asked[k].logit;
      EXPECT_EQ(c.asked[k].rank, rank);
      EXPECT_NEAR(c.asked[k].probability, truth.asked[k].probability, 1e-6);
    }
    EXPECT_TRUE(next_->describe(slot, 0).contains(percentText(truth.top[0].probability)));
    EXPECT_TRUE(next_->describe(slot, NextTokenView::kShown).contains(QStringLiteral("right answer")));
  }
  EXPECT_TRUE(next_->command().startsWith(QStringLiteral("microtome forward --model ")));
  EXPECT_EQ(next_->csv().count(QLatin1Char('\n')), 1 + 2 * 12);
  picture(panel_.get(), QStringLiteral("prompts_twins"));
  auto* after = panel_->findChild<QToolButton*>(QStringLiteral("promptAfter"));
  EXPECT_TRUE(after->text().startsWith(QStringLiteral("clean")));
  after->menu()->actions()[2]->trigger();
  EXPECT_TRUE(after->text().startsWith(QStringLiteral("both")));
  ASSERT_TRUE(known(4));
  const app::NextTokens other =
      session_->engine()->next_tokens(*session_->model(0), session_->currentPair(0)->corrupted_ids, 1, {});
  EXPECT_EQ(next_->columns()[1].prompt, QStringLiteral("corrupted"));
  EXPECT_EQ(next_->columns()[1].top[0].id, other.top[0].id);
  picture(panel_.get(), QStringLiteral("prompts_both"));
  panel_->resize(1400, 300);
  QTest::qWait(50);
  picture(panel_.get(), QStringLiteral("prompts_wide"));
}

TEST_F(PromptsPanelTest, PromptsAreSteppedThroughByKeysAndMouse) {
  openTwins(4, false);
  open();
  auto* index = panel_->findChild<QSpinBox*>(QStringLiteral("promptIndex"));
  EXPECT_EQ(index->text(), QStringLiteral("1 of 4"));
  EXPECT_FALSE(button("promptPrevious")->isEnabled());
  QTest::keyClick(panel_.get(), Qt::Key_Right, Qt::AltModifier);
  EXPECT_EQ(session_->selection().prompt(), 1);
  QTest::mouseClick(button("promptNext"), Qt::LeftButton);
  EXPECT_EQ(session_->selection().prompt(), 2);
  ASSERT_TRUE(waitUntil([&] { return clean_->text().toStdString() == session_->currentPair(0)->clean; }, 2000));
  QTest::keyClick(panel_.get(), Qt::Key_Left, Qt::AltModifier);
  EXPECT_EQ(session_->selection().prompt(), 1);
  session_->selection().setPrompt(3);  // from elsewhere
  ASSERT_TRUE(waitUntil([&] { return index->value() == 4 && !button("promptNext")->isEnabled(); }, 2000));
  ASSERT_TRUE(known());
  const app::NextTokens truth =
      session_->engine()->next_tokens(*session_->model(0), session_->currentPair(0)->clean_ids, 1, {});
  ASSERT_TRUE(waitUntil(
      [&] { return !next_->columns()[0].top.empty() && next_->columns()[0].top[0].id == truth.top[0].id; }, 5000));
}

TEST_F(PromptsPanelTest, ClickingATokenSelectsItsPosition) {
  openTwins(4, false);
  open();
  TokenStrip* strip = rows_->clean();
  ASSERT_TRUE(strip->isVisible());
  strip->setFocus();
  QTest::keyClick(strip, Qt::Key_Home);
  EXPECT_EQ(session_->selection().position(), 0);
  QTest::keyClick(strip, Qt::Key_Right);
  EXPECT_EQ(session_->selection().position(), 1);
  EXPECT_EQ(rows_->corrupted()->selected(), 1) << "both rows show it";
  session_->selection().setPosition(3);
  EXPECT_EQ(strip->selected(), 3);
  // The first chip lies at the left edge.
  QTest::mouseClick(strip, Qt::LeftButton, {}, QPoint(14, strip->height() / 4));
  EXPECT_EQ(session_->selection().position(), 0);
}

TEST_F(PromptsPanelTest, TasksAndFilesAreLoaded) {
  openTwins(4, false);
  open();
  EXPECT_FALSE(clean_->isVisible()) << "prompts of a task are looked at";
  QTest::mouseClick(button("promptLoad"), Qt::LeftButton);
  auto* row = panel_->findChild<LoadRow*>();
  ASSERT_TRUE(row->isVisible());
  EXPECT_EQ(row->tasks()->count(), static_cast<int>(task_list().size()));
  picture(panel_.get(), QStringLiteral("prompts_load"));
  row->tasks()->setCurrentIndex(row->tasks()->findData(QStringLiteral("greater_than")));
  row->findChild<QSpinBox*>()->setValue(6);
  for (QPushButton* b : row->findChildren<QPushButton*>())
    if (b->text() == QStringLiteral("Load task")) QTest::mouseClick(b, Qt::LeftButton);
  ASSERT_TRUE(waitUntil(
      [&] { return session_->prompts().bySlot[0] && session_->prompts().source.task == QStringLiteral("greater_than"); }));
  EXPECT_EQ(session_->prompts().bySlot[0]->pairs.size(), 6u);
  EXPECT_FALSE(row->isVisible());
  ASSERT_TRUE(known());
  EXPECT_GT(next_->columns()[0].asked[0].count, 1u);
  picture(panel_.get(), QStringLiteral("prompts_greater_than"));
  session_->undoStack().undo();
  ASSERT_TRUE(
      waitUntil([&] { return session_->prompts().bySlot[0] && session_->prompts().source.task == QStringLiteral("ioi"); }));

  const QString file = folder_.filePath(QStringLiteral("mine.jsonl"));
  QFile out(file);
  ASSERT_TRUE(out.open(QIODevice::WriteOnly));
  out.write(
      "{\"clean\": \"When Mary and John went\", \"corrupted\": \"When Mary and Mary went\", \"answer\": \" "
      "Mary\"}\n{\"clean\": \"The store\", \"answer\": \" Mary\"}\n");
  out.close();
  QTest::mouseClick(button("promptLoad"), Qt::LeftButton);
  for (QPushButton* b : row->findChildren<QPushButton*>())
    if (b->text() == QStringLiteral("File…")) QTest::mouseClick(b, Qt::LeftButton);
  auto* dialog = panel_->findChild<QFileDialog*>();
  ASSERT_TRUE(dialog);
  Q_EMIT dialog->fileSelected(file);
  dialog->reject();
  ASSERT_TRUE(waitUntil([&] {
    return session_->prompts().source.kind == PromptSource::Kind::kFile && session_->prompts().bySlot[0];
  })) << problems_.join(QLatin1Char('\n')).toStdString();
  ASSERT_TRUE(waitUntil(
      [&] { return panel_->findChild<QSpinBox*>(QStringLiteral("promptIndex"))->text() == QStringLiteral("1 of 2"); },
      2000));
}

TEST_F(PromptsPanelTest, ADraftOutlivesAnotherModel) {
  openTwins(4, false);
  open();
  QTest::keyClick(panel_.get(), Qt::Key_F2);
  ASSERT_TRUE(clean_->isVisible());
  type(clean_, QStringLiteral("The answer"));
  EXPECT_TRUE(next_->stale());
  session_->openModel(models() + QStringLiteral("/zoo-gated_deltanet"), 1);
  ASSERT_TRUE(waitUntil([&] { return session_->comparing() && session_->prompts().bySlot[1]; }));
  settle();
  EXPECT_EQ(clean_->text(), QStringLiteral("The answer"));
  QTest::mouseClick(button("promptDiscard"), Qt::LeftButton);
  EXPECT_EQ(clean_->text().toStdString(), session_->currentPair(0)->clean);
  EXPECT_FALSE(next_->stale());
}

TEST_F(PromptsPanelTest, StaysUsableAtTheLeastSizeAndWithLongTexts) {
  openTwins(4);
  open(QSize(700, 170));
  ASSERT_TRUE(known(2));
  // Both rows are in sight.
  for (TokenStrip* strip : {rows_->clean(), rows_->corrupted()}) {
    const QRect r(strip->mapTo(rows_, QPoint(0, 0)), strip->size());
    EXPECT_GE(r.top(), 0);
    EXPECT_LE(r.bottom(), rows_->height());
  }
  picture(panel_.get(), QStringLiteral("prompts_least"));
  QTest::keyClick(panel_.get(), Qt::Key_F2);
  QTest::qWait(50);
  picture(panel_.get(), QStringLiteral("prompts_least_edit"));
  // A long text is cut by a worker and shown in part.
  QString text = QStringLiteral("\u202e\u0007odd ");
  for (int i = 0; i < 9000; ++i) text += QStringLiteral(" Mary");
  clean_->setText(text);
  QTest::keyClicks(clean_, QStringLiteral("x"));
  ASSERT_TRUE(waitUntil([&] { return rows_->clean()->tokens().size() == kMostChips + 1; }, 20000));
  picture(panel_.get(), QStringLiteral("prompts_long"));
}

TEST(PromptCheck, WithoutATokenizerIdsAreShown) {
  PromptPair p;
  p.clean_ids = {5, 7};
  p.corrupted_ids = {5, 8};
  const CheckedPrompt c = checkPrompt(p, nullptr);
  ASSERT_EQ(c.clean.size(), 2u);
  EXPECT_EQ(c.clean[1].text, QStringLiteral("#7"));
  EXPECT_TRUE(c.clean[1].differs);
  EXPECT_FALSE(c.clean[0].differs);
  EXPECT_TRUE(c.problem.isEmpty());
  PromptPair text;
  text.clean = "words";
  EXPECT_EQ(checkPrompt(text, nullptr).fault, PromptField::kClean);
}

TEST(NextTokens, RanksAndPercents) {
  app::NextTokens n;
  n.top = {{3, "a", 5, 0.5}, {4, "b", 4, 0.2}, {9, "c", 3, 0.1}};
  n.asked = {{9, "c", 3, 0.1}, {4, "b", 4, 0.2}, {77, "z", -8, 1e-9}};
  const auto asked = rankAsked(n, 2);
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_TRUE(asked[0].right);
  EXPECT_EQ(asked[0].count, 2u);
  EXPECT_EQ(asked[0].best.id, 4);
  EXPECT_EQ(asked[0].rank, 2);
  EXPECT_NEAR(asked[0].probability, 0.3, 1e-12);
  EXPECT_EQ(asked[1].rank, 0) << "behind what was looked at";
  EXPECT_TRUE(rankAsked({}, 0).empty());
  EXPECT_EQ(percentText(0.4521), QStringLiteral("45.2 %"));
  EXPECT_EQ(percentText(1e-9), QStringLiteral("< 0.01 %"));
  EXPECT_EQ(percentText(std::nan("")), QStringLiteral("–"));
}

}  // namespace
}  // namespace microtome::desktop
