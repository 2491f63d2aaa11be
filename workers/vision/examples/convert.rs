use btrust_vision::models::fold::{fold_dequantize, InputSize};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let b = std::fs::read(&a[2]).unwrap();
    let out = match a[1].as_str() {
        "fold" => fold_dequantize(&b, InputSize::AsShipped).unwrap(),
        "fold-any" => fold_dequantize(&b, InputSize::Any).unwrap(),
        _ => panic!(),
    };
    std::fs::write(&a[3], out).unwrap();
}
