//! Money of orders: set aside and paid out to merchant, platform and tax office in one movement.
//!
//! An order is its own hold: its record says how much of the customer's held money is its.

use pumasi_types::{AccountId, Amount, Currency, OrderId, Time, TransferId};

use super::Ledger;
use crate::effects::{Cause, Transfer};
use crate::{Refusal, Role};

/// What a customer pays for an order, or for a part of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sale {
    pub(crate) order: OrderId,
    pub(crate) payer: AccountId,
    pub(crate) payee: AccountId,
    pub(crate) currency: Currency,
    /// All that the payer pays: more than nothing.
    pub(crate) amount: Amount,
    /// What the platform gets of it, and who that is.
    pub(crate) fee: Amount,
    pub(crate) fee_to: AccountId,
    /// What is tax of it, and who hands that on. Fee and tax are at most the amount.
    pub(crate) tax: Amount,
    pub(crate) tax_to: AccountId,
}

/// Which part of a balance pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purse {
    Available,
    Held,
}

impl Ledger {
    /// What an account can spend; `None` for an account that there is not, and for the issuer, which buys nothing.
    pub(crate) fn available(&self, account: AccountId, currency: Currency) -> Option<Amount> {
        if account == Ledger::ISSUER {
            return None;
        }
        Some(self.account(account)?.balance(currency).available)
    }

    /// Whether this account neither sells, carries nor operates.
    pub(crate) fn only_buys(&self, account: AccountId) -> bool {
        let others = [Role::Merchant, Role::Carrier, Role::Operator];
        self.account(account).is_none_or(|account| others.iter().all(|role| !account.roles().contains(*role)))
    }

    /// What a payment of this account reads first.
    pub(crate) fn touch(&self, account: AccountId) -> u64 {
        self.accounts.touch(account)
    }

    /// Sets money aside for an order. It must be there.
    pub(crate) fn set_aside(&mut self, owner: AccountId, currency: Currency, amount: Amount) {
        let Ok(balance) = self.balance_mut(owner, currency) else { return };
        debug_assert!(balance.available >= amount);
        balance.available.0 -= amount.0;
        balance.held.0 += amount.0;
    }

    /// Gives back what was set aside for an order.
    pub(crate) fn give_back(&mut self, owner: AccountId, currency: Currency, amount: Amount) {
        let Ok(balance) = self.balance_mut(owner, currency) else { return };
        debug_assert!(balance.held >= amount);
        balance.held.0 -= amount.0;
        balance.available.0 += amount.0;
    }

    /// Pays for an order, from money that must be there.
    pub(crate) fn sell(&mut self, time: Time, sale: &Sale, purse: Purse, journal: &mut Vec<Transfer>) {
        let Sale { order, payer, payee, currency, amount, fee, fee_to, tax, tax_to } = *sale;
        if !amount.is_positive() {
            return;
        }
        let id = TransferId(self.last_transfer.0 + 1);
        self.last_transfer = id;
        let paid = |ledger: &mut Ledger, account: AccountId, amount: i64| {
            let Ok(balance) = ledger.balance_mut(account, currency) else { return TransferId(0) };
            balance.available.0 += amount;
            std::mem::replace(&mut balance.last_transfer, id)
        };
        let payer_prev = match purse {
            Purse::Available => paid(self, payer, -amount.0),
            Purse::Held => {
                self.give_back(payer, currency, amount);
                paid(self, payer, -amount.0)
            }
        };
        // An account that is several of them has one transfer before this one.
        let mut known = [(payer, payer_prev); 3];
        let mut chained = |before: TransferId, account: AccountId, place: usize| {
            let prev = if before == id {
                known.iter().find(|(other, _)| *other == account).map_or(before, |(_, prev)| *prev)
            } else {
                before
            };
            if let Some(slot) = known.get_mut(place) {
                *slot = (account, prev);
            }
            prev
        };
        let before = paid(self, payee, amount.0 - fee.0 - tax.0);
        let payee_prev = chained(before, payee, 1);
        let fee_prev = match fee {
            Amount::ZERO => TransferId(0),
            _ => {
                let before = paid(self, fee_to, fee.0);
                chained(before, fee_to, 2)
            }
        };
        let tax_prev = match tax {
            Amount::ZERO => TransferId(0),
            _ => {
                let before = paid(self, tax_to, tax.0);
                chained(before, tax_to, 3)
            }
        };
        let cause = Cause::Sale { order, fee, fee_to, fee_prev, tax, tax_to, tax_prev };
        journal.push(Transfer { id, time, payer, payee, currency, amount, cause, payer_prev, payee_prev });
    }

    /// Gives a sale, or a part of one, back: each who got some of it gives that. Refused, without any change, when one
    /// of them has not enough.
    pub(crate) fn refund(
        &mut self,
        time: Time,
        sale: &Sale,
        journal: &mut Vec<Transfer>,
    ) -> Result<TransferId, Refusal> {
        let Sale { order, payer: buyer, payee: seller, currency, amount, fee, fee_to, tax, tax_to } = *sale;
        if !amount.is_positive() {
            return Err(Refusal::BadAmount);
        }
        let prev = |account: AccountId| {
            self.account(account).map_or(TransferId(0), |account| account.balance(currency).last_transfer)
        };
        let part_prev = |part: Amount, of| if part == Amount::ZERO { TransferId(0) } else { prev(of) };
        let (fee_prev, tax_prev) = (part_prev(fee, fee_to), part_prev(tax, tax_to));
        let transfer = Transfer {
            id: TransferId(self.last_transfer.0 + 1),
            time,
            payer: seller,
            payee: buyer,
            currency,
            amount,
            cause: Cause::Refund { order, fee, fee_to, fee_prev, tax, tax_to, tax_prev },
            payer_prev: prev(seller),
            payee_prev: prev(buyer),
        };
        for (account, _) in transfer.legs() {
            let change = transfer.change_of(account).unwrap_or_default();
            let available =
                self.account(account).ok_or(Refusal::NoAccount { account })?.balance(currency).available;
            if change.0 < 0 && available.0 + change.0 < 0 {
                return Err(Refusal::RefundNotCovered { account, currency, needed: Amount(-change.0) });
            }
        }
        for (account, change) in transfer.legs() {
            let balance = self.balance_mut(account, currency)?;
            balance.available.0 += change.0;
            balance.last_transfer = transfer.id;
        }
        self.last_transfer = transfer.id;
        journal.push(transfer);
        Ok(transfer.id)
    }
}
