#include "app/desktop/frame/command_palette.h"

#include <QKeyEvent>
#include <QLineEdit>
#include <QListWidget>
#include <QStyledItemDelegate>
#include <algorithm>

#include "app/desktop/theme/theme.h"

namespace microtome::desktop {
namespace {

constexpr size_t kShown = 200;

// Title at the left, kind and detail muted at the right.
class EntryDelegate : public QStyledItemDelegate {
 public:
  using QStyledItemDelegate::QStyledItemDelegate;
  QSize sizeHint(const QStyleOptionViewItem& option, const QModelIndex&) const override { return QSize(100, option.fontMetrics.height() + kGrid); }
  void paint(QPainter* p, const QStyleOptionViewItem& option, const QModelIndex& index) const override {
    const Theme& t = Theme::of(option.palette);
    if (option.state & QStyle::State_Selected) p->fillRect(option.rect, t.accentSoft);
    const QRect r = option.rect.adjusted(kGrid * 3 / 2, 0, -kGrid * 3 / 2, 0);
    const QString detail = index.data(Qt::UserRole).toString();
    const int right = std::min(r.width() / 2, option.fontMetrics.horizontalAdvance(detail));
    p->setPen(t.muted);
    p->drawText(r, Qt::AlignVCenter | Qt::AlignRight, option.fontMetrics.elidedText(detail, Qt::ElideMiddle, right));
    p->setPen(t.text);
    const QRect left = r.adjusted(0, 0, -right - kGrid * 2, 0);
    p->drawText(left, Qt::AlignVCenter | Qt::AlignLeft, option.fontMetrics.elidedText(index.data().toString(), Qt::ElideRight, left.width()));
  }
};

}  // namespace

std::vector<const PaletteEntry*> matchEntries(const std::vector<PaletteEntry>& entries, const QString& query, size_t most) {
  const QString q = query.trimmed();
  const QStringList words = q.split(QLatin1Char(' '), Qt::SkipEmptyParts);
  std::vector<const PaletteEntry*> tiers[3];
  for (const PaletteEntry& e : entries) {
    const QString all = e.kind + QLatin1Char(' ') + e.title + QLatin1Char(' ') + e.detail;
    if (!std::all_of(words.begin(), words.end(), [&](const QString& w) { return all.contains(w, Qt::CaseInsensitive); })) continue;
    const int tier = e.title.startsWith(q, Qt::CaseInsensitive) ? 0 : e.title.contains(q, Qt::CaseInsensitive) ? 1 : 2;
    tiers[tier].push_back(&e);
  }
  std::vector<const PaletteEntry*> out;
  for (const auto& tier : tiers)
    for (const PaletteEntry* e : tier)
      if (out.size() < most) out.push_back(e);
  return out;
}

CommandPalette::CommandPalette(QWidget* window, std::function<std::vector<PaletteEntry>()> entries) : QFrame(window), source_(std::move(entries)) {
  setObjectName(QStringLiteral("palette"));
  setAccessibleName(tr("Find anything"));
  auto* column = new QVBoxLayout(this);
  column->setContentsMargins(kGrid, kGrid, kGrid, kGrid);
  field_ = new QLineEdit(this);
  field_->setPlaceholderText(tr("Find a panel, an analysis, a run, a hook point, a task…"));
  field_->setClearButtonEnabled(true);
  list_ = new QListWidget(this);
  list_->setItemDelegate(new EntryDelegate(list_));
  list_->setFocusPolicy(Qt::NoFocus);
  list_->setUniformItemSizes(true);
  list_->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  column->addWidget(field_);
  column->addWidget(list_);
  field_->installEventFilter(this);
  connect(field_, &QLineEdit::textChanged, this, &CommandPalette::fill);
  connect(list_, &QListWidget::itemClicked, this, &CommandPalette::accept);
  hide();
}

void CommandPalette::open() {
  const QWidget* window = parentWidget();
  const int width = std::min(640, window->width() - kGrid * 4);
  setGeometry((window->width() - width) / 2, kGrid * 8, width, std::min(440, window->height() - kGrid * 12));
  entries_ = source_();
  field_->clear();
  fill();
  show();
  raise();
  field_->setFocus();
}

void CommandPalette::fill() {
  shown_ = matchEntries(entries_, field_->text(), kShown);
  list_->clear();
  for (const PaletteEntry* e : shown_) {
    auto* item = new QListWidgetItem(e->title, list_);
    item->setData(Qt::UserRole, e->detail.isEmpty() ? e->kind : e->kind + QStringLiteral(" · ") + e->detail);
  }
  list_->setCurrentRow(shown_.empty() ? -1 : 0);
}

void CommandPalette::accept() {
  const int row = list_->currentRow();
  if (row < 0 || static_cast<size_t>(row) >= shown_.size()) return;
  const std::function<void()> act = shown_[static_cast<size_t>(row)]->act;
  hide();
  if (act) act();
}

bool CommandPalette::eventFilter(QObject* watched, QEvent* event) {
  if (event->type() == QEvent::FocusOut && !isAncestorOf(QApplication::focusWidget())) hide();
  if (event->type() != QEvent::KeyPress) return QFrame::eventFilter(watched, event);
  const auto* key = static_cast<QKeyEvent*>(event);
  const int rows = list_->count(), row = list_->currentRow();
  switch (key->key()) {
    case Qt::Key_Escape: hide(); return true;
    case Qt::Key_Return:
    case Qt::Key_Enter: accept(); return true;
    case Qt::Key_Down: if (rows) list_->setCurrentRow((row + 1) % rows); return true;
    case Qt::Key_Up: if (rows) list_->setCurrentRow((row + rows - 1) % rows); return true;
    case Qt::Key_PageDown: list_->setCurrentRow(std::min(row + 10, rows - 1)); return true;
    case Qt::Key_PageUp: list_->setCurrentRow(std::max(row - 10, 0)); return true;
    default: return QFrame::eventFilter(watched, event);
  }
}

void CommandPalette::paintEvent(QPaintEvent*) {
  const Theme& t = Theme::of(this);
  QPainter p(this);
  p.setRenderHint(QPainter::Antialiasing);
  p.setPen(t.faint);
  p.setBrush(t.window);
  p.drawRoundedRect(QRectF(rect()).adjusted(0.5, 0.5, -0.5, -0.5), 6, 6);
}

}  // namespace microtome::desktop
