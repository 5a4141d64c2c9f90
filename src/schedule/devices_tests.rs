use super::*;

const G: u64 = 1 << 30;

/// GPUs of these kinds and memories, with so many slots each.
fn devices(gpus: &[(&str, u64, usize)], largest: u64) -> Devices {
    let one = |(number, (name, memory, slots)): (usize, &(&str, u64, usize))| GpuSlots {
        gpu: Gpu::example(number as u32, name),
        slots: *slots,
        memory: *memory,
    };
    Devices::new(&gpus.iter().enumerate().map(one).collect::<Vec<_>>(), largest)
}

/// The GPUs of the slots that so many trials get one after another.
fn filled(devices: &Devices, trials: usize, needs: &Needs) -> Vec<Option<u32>> {
    let mut taken = BTreeSet::new();
    let next = |_| {
        let slot = devices.free(&taken, needs)?;
        taken.insert(slot);
        devices.gpu(slot).map(|gpu| gpu.number)
    };
    (0..trials).map(next).collect()
}

#[test]
fn slots_are_a_gpu_each_and_as_many_as_are_asked_for_and_fit() {
    let of = |memory: &[u64], per_device, bytes| {
        let gpus: Vec<(Gpu, u64)> = (0..).zip(memory).map(|(n, memory)| (Gpu::example(n, "A"), *memory)).collect();
        gpu_slots(&gpus, per_device, bytes).iter().map(|one| one.slots).collect::<Vec<_>>()
    };
    assert_eq!(of(&[80 * G; 2], 1, 10 * G), [1, 1]);
    assert_eq!(of(&[80 * G; 2], 4, 10 * G), [4, 4]);
    assert_eq!(of(&[80 * G, 24 * G], 4, 10 * G), [4, 2], "two fit into the smaller one");
    assert_eq!(of(&[80 * G, 24 * G], 4, 30 * G), [2, 1], "one that does not fit shows so itself");
    assert_eq!(of(&[80 * G; 2], 4, 0), [4, 4], "nothing is known");
    assert!(of(&[], 2, G).is_empty());
}

#[test]
fn trials_are_spread_over_all_gpus_before_one_takes_a_second() {
    let any = Needs::default();
    for gpus in [2, 4, 8] {
        let devices = devices(&vec![("A", 80 * G, 2); gpus], 0);
        assert_eq!(devices.slots(), Some(2 * gpus));
        let numbers = (0..gpus as u32).map(Some);
        let expected: Vec<Option<u32>> = numbers.clone().chain(numbers).chain([None]).collect();
        assert_eq!(filled(&devices, 2 * gpus + 1, &any), expected);
    }
    // The second slot of a GPU is taken, both of the other are free.
    assert_eq!(devices(&[("A", G, 2), ("A", G, 2)], 0).free(&BTreeSet::from([3]), &any), Some(2));
}

#[test]
fn on_the_processor_nothing_is_asked() {
    let none = devices(&[], 0);
    assert_eq!((none.slots(), none.gpu(1), none.is_out(1)), (None, None, false));
    assert!(none.has_place(&Needs { memory: G, kind: Some("A".to_owned()) }));
}

#[test]
fn a_trial_gets_a_gpu_that_it_fits_into_and_of_the_kind_that_it_was_begun_on() {
    let mut devices = devices(&[("big", 80 * G, 1), ("small", 24 * G, 1)], 30 * G);
    assert!(!devices.are_alike());
    let needs = |memory, kind: Option<&str>| Needs { memory, kind: kind.map(str::to_owned) };
    for (needs, expected) in [
        (needs(G, None), vec![Some(1), Some(0), None]),
        (needs(30 * G, None), vec![Some(0), None, None]),
        (needs(100 * G, None), vec![Some(1), Some(0), None]),
        (needs(G, Some("big")), vec![Some(0), None, None]),
        (needs(G, Some("gone")), vec![Some(1), Some(0), None]),
    ] {
        assert_eq!(filled(&devices, 3, &needs), expected, "{needs:?}");
    }
    devices.failed(1, 0, true);
    assert!(!devices.has_place(&needs(30 * G, None)) && devices.has_place(&needs(G, None)));
    assert!(!devices.has_place(&needs(G, Some("big"))), "it waits for its kind");
}

/// Faults (slot, trial), or slots where a trial ended well, and after which of them a GPU is left out.
fn left_out(gpus: usize, course: &[(u32, Option<usize>)]) -> Vec<(usize, u32)> {
    let mut devices = devices(&vec![("A", G, 1); gpus], 0);
    let mut out = Vec::new();
    for (place, (slot, fault)) in course.iter().enumerate() {
        match fault {
            Some(trial) => out.extend(devices.failed(*slot, *trial, false).map(|gpu| (place, gpu.number))),
            None => devices.went_well(*slot),
        }
    }
    out
}

#[test]
fn a_gpu_is_left_out_where_two_trials_fail_on_it_in_a_row_and_none_elsewhere() {
    for (gpus, course, expected) in [
        (1, vec![(1, Some(0)), (1, Some(1))], vec![(1, 0)]),
        (1, vec![(1, Some(0)), (1, Some(0)), (1, Some(0))], vec![]),
        (1, vec![(1, Some(0)), (1, None), (1, Some(1))], vec![]),
        (2, vec![(2, Some(0)), (1, None), (2, Some(1)), (1, None), (2, Some(2))], vec![(2, 1)]),
        (2, vec![(1, Some(0)), (2, Some(1)), (1, Some(2)), (2, Some(3))], vec![]),
        (2, vec![(1, Some(0)), (2, Some(1)), (1, Some(2)), (1, Some(3))], vec![(3, 0)]),
        (2, vec![(1, Some(0)), (2, Some(0)), (2, None), (1, Some(1))], vec![(3, 0)]),
        (8, vec![(8, Some(0)), (8, Some(1)), (7, Some(0)), (7, Some(2))], vec![(1, 7), (3, 6)]),
    ] {
        assert_eq!(left_out(gpus, &course), expected, "{course:?}");
    }
}

#[test]
fn a_lost_gpu_is_left_out_at_once_and_once() {
    let mut devices = devices(&[("A", G, 2), ("A", G, 2)], 0);
    assert_eq!(devices.failed(3, 0, true).map(|gpu| gpu.number), Some(0));
    assert!(devices.is_out(1) && devices.is_out(3) && !devices.is_out(2));
    assert_eq!(devices.failed(1, 1, true), None, "its other slot");
    assert_eq!((devices.left(), devices.free(&BTreeSet::new(), &Needs::default())), (1, Some(2)));
    devices.failed(2, 2, true);
    assert_eq!((devices.left(), devices.are_alike(), devices.has_place(&Needs::default())), (0, false, false));
}
