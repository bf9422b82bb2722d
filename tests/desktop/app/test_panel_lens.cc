// The lens panel against the numbers of the stored run and of the model itself: the table, its colours, the lines over
// the layers, by mouse and keys; two models; empty states.
#include <QComboBox>
#include <QLabel>
#include <QPushButton>
#include <QSignalSpy>
#include <cmath>

#include "app/desktop/panels/panel.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/chart_view.h"
#include "app/desktop/views/token_map.h"
#include "tests/desktop/app/app_fixture.h"

namespace microtome::desktop {
namespace {

class LensPanelTest : public AppTest {
 protected:
  void SetUp() override {
    AppTest::SetUp();
    QObject::connect(session_.get(), &Session::runFinished,
                     [this](qint64, const QString& analysis, int slot, const RunViewPtr& run) {
                       if (analysis == QLatin1String("logit_lens")) runs_[slot] = run;
                     });
  }
  void TearDown() override {
    panel_.reset();
    AppTest::TearDown();
  }
  void open(const QSize& size = QSize(760, 480)) {
    panel_.reset(makePanel("lens", size));
    ASSERT_TRUE(panel_);
  }
  QWidget* column(int slot) const { return panel_->findChild<QWidget*>(QStringLiteral("lens_%1").arg(slot)); }
  TokenMapView* table(int slot = 0) const { return column(slot)->findChild<TokenMapView*>(); }
  ChartView* chart(const char* name) const { return panel_->findChild<ChartView*>(QString::fromLatin1(name)); }
  QComboBox* colour() const { return panel_->findChild<QComboBox*>(QStringLiteral("lens_colour")); }
  bool waitShown(bool both) {
    return waitUntil([&] { return table(0)->data().rows > 0 && (!both || table(1)->data().rows > 0); });
  }
  double stored(int slot, const char* name, int64_t layer, int64_t pos) const {
    for (const Artifact& artifact : runs_[slot]->result.artifacts)
      if (const auto* m = std::get_if<TensorMap>(&artifact))
        for (const NamedArray& a : m->arrays)
          if (a.name == name) return a.at(layer * a.shape[1] * a.shape[2] + pos);
    ADD_FAILURE() << "no array " << name;
    return std::nan("");
  }
  int64_t tokens(int slot = 0) const { return static_cast<int64_t>(session_->currentPair(slot)->clean_ids.size()); }

  std::unique_ptr<Panel> panel_;
  RunViewPtr runs_[2];
};

TEST_F(LensPanelTest, WithoutAModelItOffersTheDemo) {
  open();
  QTest::qWait(30);
  QPushButton* button = column(0)->findChild<EmptyState*>()->findChild<QPushButton*>();
  EXPECT_TRUE(button->isVisible());
  EXPECT_EQ(button->text(), QStringLiteral("Try the demo"));
  EXPECT_FALSE(colour()->isVisible());
  EXPECT_FALSE(chart("lens_kl")->isVisible());
  EXPECT_TRUE(panel_->views().empty());
  QTest::qWait(60);
  picture(panel_.get(), QStringLiteral("lens_empty"));
}

TEST_F(LensPanelTest, CellsAreTheStoredNumbersAndTheLastRowIsTheModel) {
  openTwins();
  open();
  ASSERT_TRUE(waitShown(true));
  for (int slot = 0; slot < 2; ++slot) {
    const TokenMapData& d = table(slot)->data();
    ASSERT_EQ(d.rows, 5);
    ASSERT_EQ(d.cols, tokens(slot));
    ASSERT_EQ(d.quantities.size(), 5u);
    const char* const names[] = {"top_prob", "logprob", "rank", "kl", "entropy"};
    for (int64_t r = 0; r < d.rows; ++r)
      for (int64_t c = 0; c < d.cols; ++c) {
        const auto i = static_cast<size_t>(r * d.cols + c);
        for (size_t q = 0; q < 5; ++q) {
          const float want = static_cast<float>(stored(slot, names[q], r, c)), got = (*d.quantities[q].values)[i];
          ASSERT_TRUE(got == want || (std::isnan(got) && std::isnan(want))) << names[q] << " " << r << " " << c;
        }
        const auto id = static_cast<int64_t>(stored(slot, "logits_top", r, c));
        EXPECT_EQ(d.words[static_cast<size_t>((*d.cells)[i])].toStdString(),
                  session_->model(slot)->tokenizer()->display(id));
      }
    // The engine's own answer at the end of the prompt.
    const app::NextTokens said =
        session_->engine()->next_tokens(*session_->model(slot), session_->currentPair(slot)->clean_ids, 1, {});
    const auto last = static_cast<size_t>(d.rows * d.cols - 1);
    EXPECT_EQ(d.words[static_cast<size_t>((*d.cells)[last])].toStdString(), said.top[0].text);
    EXPECT_NEAR((*d.quantities[0].values)[last], said.top[0].probability, 1e-5);
    EXPECT_EQ(d.rowAxis.labels.first(), QStringLiteral("before L0"));
    EXPECT_EQ(d.rowAxis.labels.last(), QStringLiteral("output"));
    EXPECT_EQ(d.rowAxis.kinds[1], slot == 0 ? LayerKind::kSoftmax : LayerKind::kRecurrent);
    EXPECT_EQ(table(slot)->sourceRun(), runs_[slot]->record.id);
    EXPECT_TRUE(table(slot)->command().startsWith(QStringLiteral("microtome run logit_lens ")));
    EXPECT_EQ(table(slot)->selectedCell(), (std::pair<int64_t, int64_t>(4, d.cols - 1))) << "the answer to begin with";
  }
  EXPECT_EQ(panel_->views().size(), 4u);
  ASSERT_TRUE(settle());
  QTest::qWait(60);
  picture(panel_.get(), QStringLiteral("lens_twins"));
  panel_->resize(1180, 720);
  QTest::qWait(60);
  picture(panel_.get(), QStringLiteral("lens_twins_large"));
}

TEST_F(LensPanelTest, AClickSelectsLayerAndPositionEverywhere) {
  openTwins();
  open(QSize(1000, 640));
  ASSERT_TRUE(waitShown(true));
  Selection& s = session_->selection();
  table(1)->setSelectedCell(2, 3);  // scrolls there
  QTest::mouseClick(table(1), Qt::LeftButton, {}, table(1)->cellRect(2, 4).center().toPoint());
  EXPECT_EQ(s.model(), 1);
  EXPECT_EQ(s.layer(), 2);
  EXPECT_EQ(s.head(), -1);
  EXPECT_EQ(s.position(), 4);
  for (int slot = 0; slot < 2; ++slot) EXPECT_EQ(table(slot)->selectedCell(), (std::pair<int64_t, int64_t>(2, 4)));
  QTest::keyClick(table(0), Qt::Key_Right);
  QTest::keyClick(table(0), Qt::Key_Down);
  EXPECT_EQ(s.model(), 0);
  EXPECT_EQ(s.layer(), 3);
  EXPECT_EQ(s.position(), 5);
  // The output is no layer of its own, but a row.
  QTest::keyClick(table(0), Qt::Key_Down);
  EXPECT_EQ(s.layer(), 3);
  for (int slot = 0; slot < 2; ++slot) EXPECT_EQ(table(slot)->selectedCell(), (std::pair<int64_t, int64_t>(4, 5)));
  // From elsewhere.
  s.setHead(1, 2);
  s.setPosition(7);
  EXPECT_EQ(table(0)->selectedCell(), (std::pair<int64_t, int64_t>(1, 7)));
  s.setHead(90, 0);
  s.setPosition(9000);
  EXPECT_EQ(table(1)->selectedCell(), (std::pair<int64_t, int64_t>(3, tokens(1) - 1))) << "the nearest there is";
}

TEST_F(LensPanelTest, TheLinesAreThoseOfTheSelectedPosition) {
  openTwins();
  open();
  ASSERT_TRUE(waitShown(true));
  for (const int64_t position : {int64_t{6}, tokens() - 1}) {
    session_->selection().setPosition(static_cast<int>(position));
    const ChartData &kl = chart("lens_kl")->data(), &p = chart("lens_probability")->data();
    ASSERT_EQ(kl.lines.size(), 2u);
    ASSERT_EQ(p.lines.size(), 2u);
    EXPECT_EQ(kl.lines[0].name, QStringLiteral("zoo-llama"));
    EXPECT_TRUE(kl.lines[0].softmax);
    EXPECT_TRUE(kl.lines[1].recurrent);
    for (int slot = 0; slot < 2; ++slot)
      for (int64_t r = 0; r < 5; ++r) {
        const auto i = static_cast<size_t>(r);
        EXPECT_DOUBLE_EQ(kl.lines[static_cast<size_t>(slot)].y[i], stored(slot, "kl", r, position));
        EXPECT_DOUBLE_EQ(p.lines[static_cast<size_t>(slot)].y[i], std::exp(stored(slot, "logprob", r, position)));
      }
    EXPECT_TRUE(kl.yLabel.contains(QStringLiteral("nats")));
  }
  const QString answer =
      QString::fromStdString(session_->model(0)->tokenizer()->display(session_->currentPair(0)->answer_ids[0]));
  EXPECT_TRUE(chart("lens_probability")->data().title.contains(visibleToken(answer)))
      << chart("lens_probability")->data().title.toStdString();
  // The chart's cursor is the layer.
  session_->selection().setHead(2, -1);
  EXPECT_EQ(chart("lens_kl")->cursor(), 2);
  Q_EMIT chart("lens_kl")->cursorMoved(0.8);
  EXPECT_EQ(session_->selection().layer(), 1);
  EXPECT_EQ(table(0)->selectedCell().first, 1);
}

TEST_F(LensPanelTest, ColoursFollowTheChoiceOnOneScaleAndAreKept) {
  openTwins();
  open();
  ASSERT_TRUE(waitShown(true));
  ASSERT_EQ(colour()->count(), 5);
  EXPECT_EQ(table(0)->scale(), std::pair(0.0, 1.0));
  for (int i = 1; i < 5; ++i) {
    QTest::keyClick(colour(), Qt::Key_Down);
    for (int slot = 0; slot < 2; ++slot) EXPECT_EQ(table(slot)->data().colour, i);
    EXPECT_EQ(table(0)->scale(), table(1)->scale()) << i;
    EXPECT_GE(table(0)->scale().second, std::max(table(0)->ownScale().second, table(1)->ownScale().second));
    EXPECT_FALSE(colour()->itemData(i, Qt::ToolTipRole).toString().isEmpty()) << "a definition";
    QTest::qWait(60);
    picture(panel_.get(), QStringLiteral("lens_colour_%1").arg(i));
  }
  colour()->setCurrentIndex(3);
  const QByteArray state = panel_->saveState();
  open();
  panel_->restoreState(state);
  ASSERT_TRUE(waitShown(true));
  EXPECT_EQ(colour()->currentIndex(), 3);
  EXPECT_EQ(table(1)->data().colour, 3);
  panel_->restoreState(QByteArray("\x01junk"));
  EXPECT_EQ(colour()->currentIndex(), 3);
}

TEST_F(LensPanelTest, HoverTellsEveryNumber) {
  openTwins(4, false);
  open();
  ASSERT_TRUE(waitShown(false));
  QSignalSpy said(panel_.get(), &Panel::hoverText);
  const QPoint at = table()->cellRect(3, tokens() - 2).center().toPoint();
  ASSERT_FALSE(table()->cellRect(3, tokens() - 2).isEmpty());
  QMouseEvent move(QEvent::MouseMove, QPointF(at), table()->mapToGlobal(QPointF(at)), Qt::NoButton, {}, {});
  QApplication::sendEvent(table(), &move);
  ASSERT_GE(said.count(), 1);
  const QString text = said.last()[0].toString();
  EXPECT_TRUE(text.startsWith(QStringLiteral("before L3, position %1").arg(tokens() - 2))) << text.toStdString();
  EXPECT_TRUE(text.contains(QStringLiteral("probability ") +
                            numberText(static_cast<float>(stored(0, "top_prob", 3, tokens() - 2)))))
      << text.toStdString();
  EXPECT_TRUE(text.contains(QStringLiteral("entropy ") +
                            numberText(static_cast<float>(stored(0, "entropy", 3, tokens() - 2))) +
                            QStringLiteral(" nats")))
      << text.toStdString();
  QTest::qWait(60);
  picture(panel_.get(), QStringLiteral("lens_single"));
}

TEST_F(LensPanelTest, APromptWithoutAnAnswerHasNoLastNumber) {
  openTwins(4, false);
  PromptPair pair;
  pair.clean = "When Mary and John went to the store, John gave a book to";
  session_->setTyped(pair);
  ASSERT_TRUE(waitUntil([&] { return session_->currentPair(0) && session_->currentPair(0)->clean == pair.clean; }));
  open();
  ASSERT_TRUE(waitShown(false));
  EXPECT_TRUE(std::isnan(table()->data().quantities[1].values->back()));
  EXPECT_TRUE(chart("lens_probability")->data().lines.empty());
  EXPECT_EQ(chart("lens_kl")->data().lines.size(), 1u) << "the distance to the output needs no answer";
  EXPECT_TRUE(table()->data().colNotes.last().contains(QStringLiteral("no answer")));
  colour()->setCurrentIndex(1);
  QTest::qWait(60);
  picture(panel_.get(), QStringLiteral("lens_no_answer"));
  session_->selection().setPosition(4);
  EXPECT_EQ(chart("lens_probability")->data().lines.size(), 1u);
}

TEST_F(LensPanelTest, HiddenItRunsNothingAndASecondModelMayGo) {
  openTwins();
  open();
  ASSERT_TRUE(waitShown(true));
  ASSERT_TRUE(settle());
  const size_t runs = session_->runs().size();
  panel_->hide();
  session_->selection().setPrompt(3);
  ASSERT_TRUE(settle());
  EXPECT_EQ(session_->runs().size(), runs);
  panel_->show();
  ASSERT_TRUE(waitUntil([&] { return session_->runs().size() == runs + 2; }));
  ASSERT_TRUE(waitUntil([&] { return table(0)->data().cols == tokens(0); }));
  session_->closeModel(1);
  QTest::qWait(30);
  EXPECT_FALSE(column(1)->isVisible());
  EXPECT_EQ(chart("lens_kl")->data().lines.size(), 1u);
  EXPECT_EQ(panel_->views().size(), 3u);
  session_->closeModel(0);
  QTest::qWait(30);
  EXPECT_TRUE(panel_->views().empty());
  EXPECT_FALSE(colour()->isVisible());
}

}  // namespace
}  // namespace microtome::desktop
