#include "app/desktop/panels/inspector/sections.h"

#include <QGridLayout>
#include <QLabel>
#include <QPainter>
#include <QPushButton>
#include <QToolButton>
#include <QVBoxLayout>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/row_delegate.h"

namespace microtome::desktop {
namespace {

class Mark : public QWidget {
 public:
  explicit Mark(QWidget* parent) : QWidget(parent) { setFixedSize(kGrid + 4, 2 * kGrid); }
  RowMark mark = RowMark::kNone;

 protected:
  void paintEvent(QPaintEvent*) override {
    QPainter p(this);
    drawRowMark(p, rect(), mark, palette());
  }
};

// A long word (a hash, a path) may break anywhere: it must not widen the panel.
QString breakable(const QString& text) {
  QString out;
  int run = 0;
  for (QChar c : text) {
    run = c.isSpace() ? 0 : run + 1;
    out += c;
    if (run >= 12 && !c.isHighSurrogate()) {
      out += QChar(0x200b);
      run = 0;
    }
  }
  return out;
}

}  // namespace

QLabel* wrappedLabel(QWidget* parent, const char* role) {
  auto* label = new QLabel(parent);
  label->setTextFormat(Qt::PlainText);
  label->setWordWrap(true);
  label->setTextInteractionFlags(Qt::TextSelectableByMouse);
  label->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Minimum);
  label->setAlignment(Qt::AlignLeft | Qt::AlignTop);
  if (role) label->setProperty("role", QString::fromLatin1(role));
  return label;
}

FactGrid::FactGrid(QWidget* parent) : QWidget(parent) {
  grid_ = new QGridLayout(this);
  grid_->setContentsMargins(0, 0, 0, 0);
  grid_->setHorizontalSpacing(kGrid);
  grid_->setVerticalSpacing(kGrid / 2);
  grid_->setColumnStretch(1, 1);
}

void FactGrid::setRows(const std::vector<FactRow>& rows) {
  QString all;
  for (const FactRow& r : rows) all += r.name + QChar(1) + r.value + QChar(1) + r.tip + QChar(1) + r.link + QChar(2);
  if (all == now_ && !rows_.empty()) return;
  now_ = all;
  rows_ = rows;
  while (QLayoutItem* item = grid_->takeAt(0)) {
    if (item->widget()) {
      item->widget()->hide();
      item->widget()->deleteLater();   // a link's button may be the sender
    }
    delete item;
  }
  int line = 0;
  for (const FactRow& r : rows) {
    QWidget* name = nullptr;
    if (!r.link.isEmpty()) {
      auto* button = new QPushButton(
          fontMetrics().elidedText(r.name, Qt::ElideRight, 28 * kGrid).replace(QLatin1Char('&'), QStringLiteral("&&")),
          this);
      button->setFlat(true);
      button->setFocusPolicy(Qt::StrongFocus);
      button->setCursor(Qt::PointingHandCursor);
      button->setStyleSheet(
          QStringLiteral("QPushButton { text-align: left; padding: 4px 0 0 0; border: none; background: transparent; "
                         "font-weight: 600; color: palette(link); }"
                         "QPushButton:focus, QPushButton:hover { text-decoration: underline; }"));
      connect(button, &QPushButton::clicked, this, [this, link = r.link] { Q_EMIT linkPressed(link); });
      name = button;
    } else {
      auto* label = new QLabel(fontMetrics().elidedText(r.name, Qt::ElideRight, 17 * kGrid), this);
      label->setTextFormat(Qt::PlainText);
      label->setProperty("role", QStringLiteral("muted"));
      name = label;
    }
    const QString tip = tipText(r.tip.isEmpty() ? r.name : r.tip).replace(QLatin1Char('\n'), QStringLiteral("<br/>"));
    name->setToolTip(tip);
    if (r.value.isEmpty()) {
      grid_->addWidget(name, line++, 0, 1, 2, Qt::AlignLeft | Qt::AlignTop);
      continue;
    }
    QLabel* value = wrappedLabel(this);
    value->setText(breakable(r.value));
    value->setToolTip(r.tip.isEmpty() ? QString() : tip);
    if (r.mono) value->setFont(monoFont(-1));
    if (r.number) value->setAlignment(Qt::AlignRight | Qt::AlignTop);
    grid_->addWidget(name, line, 0, Qt::AlignLeft | Qt::AlignTop);
    grid_->addWidget(value, line++, 1);
  }
}

Section::Section(const QString& title, QWidget* parent) : QWidget(parent) {
  auto* column = new QVBoxLayout(this);
  column->setContentsMargins(0, 0, 0, kGrid);
  column->setSpacing(kGrid / 2);
  title_ = new QToolButton(this);
  title_->setText(title);
  title_->setObjectName(QStringLiteral("fold"));
  title_->setToolButtonStyle(Qt::ToolButtonTextBesideIcon);
  title_->setArrowType(Qt::DownArrow);
  title_->setCheckable(true);
  title_->setChecked(true);
  title_->setFocusPolicy(Qt::StrongFocus);
  title_->setStyleSheet(QStringLiteral(
      "QToolButton { padding: 4px 4px 4px 0; font-weight: 600; } QToolButton:checked { background: transparent; }"));
  column->addWidget(title_, 0, Qt::AlignLeft);
  content_ = new QWidget(this);
  body_ = new QVBoxLayout(content_);
  body_->setContentsMargins(kGrid / 2, 0, 0, 0);
  body_->setSpacing(kGrid);
  auto* line = new QHBoxLayout;
  line->setSpacing(kGrid / 2);
  mark_ = new Mark(content_);
  headline_ = wrappedLabel(content_);
  headline_->setObjectName(QStringLiteral("headline"));
  line->addWidget(mark_, 0, Qt::AlignTop);
  line->addWidget(headline_, 1);
  body_->addLayout(line);
  facts_ = new FactGrid(content_);
  body_->addWidget(facts_);
  column->addWidget(content_);
  mark_->hide();
  headline_->hide();
  connect(title_, &QToolButton::toggled, this, [this](bool open) { setFolded(!open); });
}

void Section::setHeadline(const QString& text, int mark) {
  headline_->setText(breakable(text));
  headline_->setVisible(!text.isEmpty());
  static_cast<Mark*>(mark_)->mark = static_cast<RowMark>(mark);
  mark_->setVisible(mark != 0);
  mark_->update();
}

QString Section::headline() const { return headline_->text().remove(QChar(0x200b)); }
bool Section::folded() const { return !title_->isChecked(); }

void Section::setFolded(bool on) {
  title_->setChecked(!on);
  title_->setArrowType(on ? Qt::RightArrow : Qt::DownArrow);
  content_->setVisible(!on);
}

}  // namespace microtome::desktop
