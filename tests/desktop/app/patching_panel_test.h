// patching_panel_test.h — what the tests of the Patching panel share.
#pragma once

#include <QCheckBox>
#include <QComboBox>
#include <QLabel>
#include <QPushButton>
#include <QStandardItemModel>
#include <QTabBar>
#include <QTableView>
#include <QToolButton>
#include <cmath>

#include "app/desktop/panels/panel.h"
#include "app/desktop/panels/patching/cell_runs.h"
#include "app/desktop/panels/patching/effect_grid.h"
#include "app/desktop/panels/patching/token_columns.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/heat_map.h"
#include "app/desktop/views/table_view.h"
#include "tests/desktop/app/app_fixture.h"

namespace microtome::desktop {

inline int64_t knownCells(const HeatMapData& d) {
  return d.values ? std::count_if(d.values->begin(), d.values->end(), [](float v) { return !std::isnan(v); }) : 0;
}

class PatchingPanelTest : public AppTest {
 protected:
  void SetUp() override {
    AppTest::SetUp();
    QObject::connect(session_.get(), &Session::runFinished,
                     [this](qint64, const QString&, int slot, const RunViewPtr& run) { runs_[slot] = run; });
    QObject::connect(session_.get(), &Session::runFailed,
                     [this](qint64, const QString&, int, const QString& why, bool cancelled) { failed_ << (cancelled ? QStringLiteral("cancelled") : why); });
  }
  void TearDown() override {
    panel_.reset();
    AppTest::TearDown();
  }
  void open(const QSize& size = QSize(760, 480)) {
    panel_.reset(makePanel("patching", size));
    ASSERT_TRUE(panel_);
    ASSERT_TRUE(waitUntil([&] { return !panel_->isVisible() || combo("patching_analysis")->count() == 3 || !session_->model(0); }));
    QTest::qWait(60);
  }
  QComboBox* combo(const char* name) const {
    // Controls of the analysis chosen before may still be on their way out.
    QComboBox* out = nullptr;
    for (QComboBox* b : panel_->findChildren<QComboBox*>(QLatin1String(name)))
      if (!out || b->isVisible()) out = b;
    return out;
  }
  QPushButton* button(const char* name) const { return panel_->findChild<QPushButton*>(QString::fromLatin1(name)); }
  QWidget* column(int slot) const { return panel_->findChild<QWidget*>(QStringLiteral("patching_%1").arg(slot)); }
  HeatMapView* map(int slot = 0) const { return column(slot)->findChild<HeatMapView*>(QStringLiteral("patching_map")); }
  TokenColumns* tokens() const { return panel_->findChild<TokenColumns*>(); }
  QString label(const char* name) const { return panel_->findChild<QLabel*>(QString::fromLatin1(name))->text(); }
  EmptyState* empty(int slot = 0) const { return column(slot)->findChild<EmptyState*>(); }
  void choose(const char* name, const QString& text) {
    QComboBox* box = combo(name);
    ASSERT_TRUE(box) << name;
    ASSERT_GE(box->findText(text), 0) << name << ": " << text.toStdString();
    box->setCurrentIndex(box->findText(text));
  }
  void chooseAnalysis(const char* name) {
    QComboBox* box = combo("patching_analysis");
    box->setCurrentIndex(box->findData(QString::fromLatin1(name)));
  }
  void byPosition(bool on) { panel_->findChild<QCheckBox*>(QStringLiteral("by_position"))->setChecked(on); }
  // Presses Run and waits for every open model's grid.
  void runAndWait() {
    runs_[0] = runs_[1] = nullptr;
    failed_.clear();
    QTest::mouseClick(button("patching_run"), Qt::LeftButton);
    ASSERT_TRUE(waitUntil([&] { return !failed_.isEmpty() || (runs_[0] && (!session_->model(1) || runs_[1])); }))
        << problems_.join(QLatin1Char('\n')).toStdString();
    ASSERT_TRUE(settle());
  }
  static const NamedArray& arrayOf(const RunViewPtr& run, const std::string& name) {
    for (const Artifact& artifact : run->result.artifacts)
      if (const auto* m = std::get_if<TensorMap>(&artifact))
        for (const NamedArray& a : m->arrays)
          if (a.name == name) return a;
    throw std::runtime_error("no array " + name);
  }
  void clickCell(int slot, int64_t row, int64_t col) {
    const QRectF plot = map(slot)->plotRect();
    const HeatMapData& d = map(slot)->data();
    QTest::mouseClick(map(slot), Qt::LeftButton, {},
                      QPointF(plot.left() + plot.width() * (col + 0.5) / d.cols, plot.top() + plot.height() * (row + 0.5) / d.rows).toPoint());
  }
  bool waitPatched() {
    return waitUntil([&] {
      const auto& c = tokens()->columns();
      return c.size() == 3 && c[1].remark.isEmpty() && !c[1].tokens.top.empty() && c[0].remark.isEmpty() && c[2].remark.isEmpty();
    });
  }
  static std::vector<int64_t> asked(const PromptPair& pair) {
    std::vector<int64_t> out = pair.answer_ids;
    out.insert(out.end(), pair.wrong_ids.begin(), pair.wrong_ids.end());
    return out;
  }
  static void expectSame(const app::NextTokens& shown, const app::NextTokens& said, size_t top) {
    ASSERT_GE(shown.top.size(), top);
    for (size_t i = 0; i < top; ++i) {
      EXPECT_EQ(shown.top[i].id, said.top[i].id);
      EXPECT_NEAR(shown.top[i].probability, said.top[i].probability, 1e-9);
    }
    ASSERT_EQ(shown.asked.size(), said.asked.size());
    for (size_t i = 0; i < said.asked.size(); ++i) {
      EXPECT_EQ(shown.asked[i].id, said.asked[i].id);
      EXPECT_NEAR(shown.asked[i].logit, said.asked[i].logit, 1e-9);
    }
  }

  std::unique_ptr<Panel> panel_;
  RunViewPtr runs_[2];
  QStringList failed_;
};

}  // namespace microtome::desktop
