//! What carriers report of parcels: event codes of the Universal Postal Union, and what they mean to customers.
//!
//! The codes are those of UPU standard M40 (EMSEVT), which every postal operator and most carriers' systems speak.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use self::ParcelStatus as Is;

/// Defines the codes with their place, text and status, so that none lacks one of them.
macro_rules! define_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:expr;)*) => {
        /// An event that a carrier reports of a parcel.
        ///
        /// The order of variants is part of the stored format: append, never reorder.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "UPPERCASE")]
        pub enum ScanCode {
            $($(#[$doc])* $name,)*
        }

        impl ScanCode {
            /// Every code.
            pub const ALL: [ScanCode; [$($code),*].len()] = [$(ScanCode::$name),*];

            /// Its three letters.
            pub fn code(self) -> &'static str {
                match self { $(ScanCode::$name => $code,)* }
            }

            /// What it means to a customer.
            pub fn status(self) -> ParcelStatus {
                match self { $(ScanCode::$name => $status,)* }
            }
        }
    };
}

define_codes! {
    /// Posting or collection.
    Ema = "EMA", Is::Accepted;
    /// Arrival at the outward office of exchange.
    Emb = "EMB", Is::InTransit;
    /// Departure from the outward office of exchange.
    Emc = "EMC", Is::InTransit;
    /// Arrival at the inward office of exchange.
    Emd = "EMD", Is::InTransit;
    /// Held by import customs.
    Eme = "EME", Is::Customs;
    /// Departure from the inward office of exchange.
    Emf = "EMF", Is::InTransit;
    /// Arrival at the delivery office.
    Emg = "EMG", Is::AtDeliveryOffice;
    /// Unsuccessful delivery.
    Emh = "EMH", Is::DeliveryAttempted;
    /// Final delivery.
    Emi = "EMI", Is::Delivered;
    /// Arrival at a transit office of exchange.
    Emj = "EMJ", Is::InTransit;
    /// Departure from a transit office of exchange.
    Emk = "EMK", Is::InTransit;
    /// Presented to export customs.
    Exa = "EXA", Is::Customs;
    /// Held by export customs.
    Exb = "EXB", Is::Customs;
    /// Returned from export customs.
    Exc = "EXC", Is::InTransit;
    /// Held at the outward office of exchange.
    Exd = "EXD", Is::InTransit;
    /// Export given up.
    Exx = "EXX", Is::ReturnedToSender;
    /// Held at the inward office of exchange.
    Eda = "EDA", Is::InTransit;
    /// Presented to import customs.
    Edb = "EDB", Is::Customs;
    /// Returned from import customs.
    Edc = "EDC", Is::InTransit;
    /// Into a sorting centre.
    Edd = "EDD", Is::InTransit;
    /// Out of a sorting centre.
    Ede = "EDE", Is::InTransit;
    /// Held at the delivery depot.
    Edf = "EDF", Is::AtDeliveryOffice;
    /// Out for delivery.
    Edg = "EDG", Is::OutForDelivery;
    /// At a collection point, for the recipient to pick up.
    Edh = "EDH", Is::ReadyToCollect;
    /// Import terminated: it goes back.
    Edx = "EDX", Is::ReturnedToSender;
}

/// Where a parcel is, in words that a customer understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParcelStatus {
    /// The carrier has it.
    Accepted,
    /// It is on its way.
    InTransit,
    /// Customs look at it.
    Customs,
    /// It is at the office that delivers it.
    AtDeliveryOffice,
    /// It is on its way to the customer's door.
    OutForDelivery,
    /// Nobody was there to take it.
    DeliveryAttempted,
    /// It waits where the customer can collect it.
    ReadyToCollect,
    /// The customer has it.
    Delivered,
    /// It goes back to the merchant.
    ReturnedToSender,
}

impl ParcelStatus {
    /// Every status.
    pub const ALL: [ParcelStatus; 9] = [
        Is::Accepted,
        Is::InTransit,
        Is::Customs,
        Is::AtDeliveryOffice,
        Is::OutForDelivery,
        Is::DeliveryAttempted,
        Is::ReadyToCollect,
        Is::Delivered,
        Is::ReturnedToSender,
    ];

    /// Its stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Is::Accepted => "accepted",
            Is::InTransit => "in_transit",
            Is::Customs => "customs",
            Is::AtDeliveryOffice => "at_delivery_office",
            Is::OutForDelivery => "out_for_delivery",
            Is::DeliveryAttempted => "delivery_attempted",
            Is::ReadyToCollect => "ready_to_collect",
            Is::Delivered => "delivered",
            Is::ReturnedToSender => "returned_to_sender",
        }
    }
}

impl ScanCode {
    /// Its number in records of a fixed layout, from 1.
    pub fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The code of a number; none of 0.
    pub fn from_number(number: u8) -> Option<ScanCode> {
        ScanCode::ALL.get(usize::from(number.checked_sub(1)?)).copied()
    }
}

impl fmt::Display for ScanCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A text that is no code of a scan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a scan code that is known here: use one of UPU standard M40, like EMA or EMI")]
pub struct BadScanCode {
    text: String,
}

impl FromStr for ScanCode {
    type Err = BadScanCode;

    fn from_str(text: &str) -> Result<ScanCode, BadScanCode> {
        let known = ScanCode::ALL.into_iter().find(|code| code.code() == text);
        known.ok_or_else(|| BadScanCode { text: text.chars().take(40).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_by_letters_and_number() {
        for code in ScanCode::ALL {
            assert_eq!(code.code().parse(), Ok(code));
            assert_eq!(ScanCode::from_number(code.number()), Some(code));
            assert_eq!(code.code(), format!("{code:?}").to_uppercase());
        }
        assert_eq!((ScanCode::from_number(0), ScanCode::from_number(26)), (None, None));
        assert!("emi".parse::<ScanCode>().is_err() && "".parse::<ScanCode>().is_err());
    }

    #[test]
    fn one_code_delivers_and_every_status_is_reported_by_some() {
        let delivers = ScanCode::ALL.into_iter().filter(|code| code.status() == Is::Delivered);
        assert_eq!(delivers.collect::<Vec<_>>(), [ScanCode::Emi]);
        for status in ParcelStatus::ALL {
            assert!(ScanCode::ALL.into_iter().any(|code| code.status() == status), "{}", status.word());
        }
    }
}
